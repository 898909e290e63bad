"""What lies in a folder: the items, what is wrong with some of them, and what is passed over.

One walk and one notion for all sources that read folders, and for `zerosum score`. Every file is one of three things:

    an item          its ending is that of an image (or, among sounds, of a sound), or, with any other ending or none,
                     its first bytes are; whether it can be used is seen when it is decoded
    an item that     a link that is broken or not followed, a FIFO, a device, a socket, what cannot be read: these are
    cannot be used   never opened, and count against the limit as broken images do
    passed over      hidden files and folders, what operating systems and tools leave, our own grids, files of any
                     other kind: counted and named, and no fault of the data

Only of files with another ending are the first bytes read; no file is asked for its size or time.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import limits
from pipeline.data import regular
from pipeline.data.kinds import CIRCLE, FIRST, GRID, HIDDEN, LEFT, OTHER, WITHOUT_ENDING, Kind, ending, why_passed
from pipeline.data.links import Followed, Links, inside
from pipeline.data.source import Problem, printable
from pipeline.errors import Damaged, Rejected
from pipeline.storage.damage import parse_json

Item = tuple[str, Problem | None]
"""A path relative to the folder, with `/`, and why it cannot be used, if that is seen already."""

LEAVING = "symlink leaving the folder"
BESIDE = "-grid.png"
NUMBERED = re.compile(r"[0-9]{5,}\.(png|wav|npz|webp)")
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9_-]{0,15}$")
LINKS_IN_A_ROW = 4  # folders that link to each other could be walked in as many ways as there are orders of them
KINDS_SHOWN = 20


@dataclass
class Listing:
    """What was found below a folder, in the order of the names' bytes.

    passed: (item, why) of what was passed over; a folder's name ends with `/`, and what is in it is not listed.
    unfollowed: links to folders that are not followed, and where they lead.
    linked: the real places of this folder, and of those that links to folders within it lead to.
    """

    kind: Kind
    items: list[Item] = field(default_factory=lambda: [])
    passed: list[tuple[str, str]] = field(default_factory=lambda: [])
    unfollowed: dict[str, str] = field(default_factory=lambda: {})
    linked: set[str] = field(default_factory=lambda: set())

    @property
    def folders(self) -> Counter[str]:
        """How many items each first sub-folder holds."""
        return Counter(name.partition("/")[0] for name, _ in self.items if "/" in name)

    def named(self) -> tuple[tuple[str, str], ...]:
        """What was passed over, as text that UTF-8 can hold."""
        return tuple((printable(item), why) for item, why in self.passed)


def listed(folder: Path, kind: Kind, links: Links = "auto", within: Sequence[Path] = (), allow: str = "") -> Listing:
    """Walk `folder` once.

    Args:
        kind: what is sought, `IMAGES` or `SOUNDS`.
        links: which are followed; of a sequence, places below its folders as well as below `within`.
        within: the folders that links may not leave; else `folder`.
        allow: what would have a link followed, for the reason of those that are not; `{}` is where they lead.
    """
    return _Walk(folder, kind, Followed(within or (folder,), links), allow).done()


def counted(passed: Iterable[tuple[str, str]]) -> dict[str, int]:
    """How often each kind of thing was passed over: by its name where that says what it is, or else by its ending."""
    counts = Counter(_sort_of(item, why) for item, why in passed)
    common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(count for _, count in common[KINDS_SHOWN:])
    return dict(sorted(common[:KINDS_SHOWN])) | ({"others": rest} if rest else {})


def described(counts: dict[str, int]) -> str:
    """Such counts in a line, the most frequent first: `60 × .txt, 2 × .DS_Store`."""
    common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} × {name}" for name, count in common[:6]) + (", …" if len(common) > 6 else "")


def _sort_of(item: str, why: str) -> str:
    name = item.rstrip("/").rpartition("/")[2] + ("/" if item.endswith("/") else "")
    if why == CIRCLE:
        return "links back"
    if why in (HIDDEN, LEFT, GRID) or name.endswith("/"):
        return "._*" if name.startswith("._") else "*~" if name.endswith("~") else name
    found = ENDING.search(name)
    return found[0].lower() if found else name if "." not in name else "other"


# --- splits -----------------------------------------------------------------------------------------

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval", "holdout"})


def are_splits(folders: Iterable[str]) -> bool:
    """Whether all of these sub-folders, and there are some, are named as parts of one data set, not as classes."""
    names = list(folders)
    return bool(names) and all(name.lower() in SPLITS for name in names)


# --- the walk ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folder:
    """A folder to be looked at. name: relative, with a slash at its end. links: the segments before this one.

    A segment is (the real place where it begins, the real place of the folder that held the link out of it).
    """

    path: str
    name: str
    begin: str
    real: str
    links: tuple[tuple[str, str], ...] = ()

    def is_below(self, target: str) -> bool:
        """Whether the real place `target` is this folder or one that was passed on the way to it."""
        segments = (*self.links, (self.begin, self.real))
        return any(inside(real, target) and inside(target, begin) for begin, real in segments)


class _Walk:
    """One walk over a folder; an explicit stack, so that no depth is too deep."""

    def __init__(self, folder: Path, kind: Kind, followed: Followed, allow: str) -> None:
        self.kind, self.followed, self.allow = kind, followed, allow
        self.found = Listing(kind)
        self.portable = not folder.is_absolute()
        root = os.path.realpath(folder)
        self.found.linked.add(root)
        self.waiting = [_Folder(root, "", root, root)]

    def done(self) -> Listing:
        while self.waiting:
            self._look(self.waiting.pop())
        self.found.items.sort(key=lambda item: os.fsencode(item[0]))
        self.found.passed.sort(key=lambda item: os.fsencode(item[0]))
        return self.found

    def _look(self, folder: _Folder) -> None:
        try:
            with os.scandir(folder.path) as scanned:
                children = list(scanned)
        except OSError as error:
            self.found.items.append((folder.name.rstrip("/") or ".", ("cannot be read", error.strerror or "")))
            return
        grids = _grids(folder.path, {child.name for child in children})
        for child in children:
            name = folder.name + child.name
            try:
                if (why := why_passed(child.name)) is not None:
                    self._pass(name, why, child.is_dir(follow_symlinks=False))
                elif child.is_symlink():
                    self._link(child.path, child.name, folder)
                elif child.is_dir(follow_symlinks=False):
                    self._enter(child.path, name, folder)
                elif not child.is_file(follow_symlinks=False):
                    self.found.items.append((name, ("not a regular file", "")))
                elif child.name in grids:
                    self._pass(name, GRID)
                else:
                    self._file(child.path, child.name, name)
            except OSError as error:
                self.found.items.append((name, ("cannot be read", error.strerror or "")))

    def _pass(self, name: str, why: str, folder: bool = False) -> None:
        self.found.passed.append((f"{name}/" if folder else name, why))

    def _file(self, path: str, own: str, name: str) -> None:
        """A regular file: an item, or of another kind."""
        end = ending(own)
        try:
            item = end in self.kind.endings or _begins_as(self.kind, path)
        except OSError:
            if end not in self.kind.others:
                raise
            item = False
        if item:
            self.found.items.append((name, None))
        else:
            self._pass(name, OTHER.format(self.kind.name))

    def _enter(self, path: str, name: str, folder: _Folder) -> None:
        real = os.path.join(folder.real, name.rpartition("/")[2])
        if folder.links and folder.is_below(real):
            self._pass(name, CIRCLE)
            return
        self.waiting.append(_Folder(path, f"{name}/", folder.begin, real, folder.links))

    def _link(self, path: str, own: str, folder: _Folder) -> None:
        name, surely_none = folder.name + own, ending(own) in self.kind.others or own.lower() in WITHOUT_ENDING
        try:
            target = os.path.realpath(path, strict=True)
            mode = os.stat(target).st_mode
        except OSError:
            if surely_none:
                self._pass(name, OTHER.format(self.kind.name))
            else:
                self.found.items.append((name, ("broken symlink", "")))
            return
        if stat.S_ISDIR(mode) and folder.is_below(target):
            self._pass(name, CIRCLE)
        elif not self.followed.may(target, stat.S_ISDIR(mode)):
            if surely_none and not stat.S_ISDIR(mode):
                self._pass(name, OTHER.format(self.kind.name))
            else:
                self._leaving(path, name, target, stat.S_ISDIR(mode))
        elif stat.S_ISDIR(mode) and len(folder.links) >= LINKS_IN_A_ROW:
            self.found.items.append((name, ("too many symlinks in a row", f"more than {LINKS_IN_A_ROW}")))
        elif stat.S_ISDIR(mode):
            links = (*folder.links, (folder.begin, folder.real))
            self.found.linked.add(target)
            self.waiting.append(_Folder(target, f"{name}/", target, target, links))
        elif stat.S_ISREG(mode):
            self._file(target, own, name)
        else:
            self.found.items.append((name, ("not a regular file", "")))

    def _leaving(self, path: str, name: str, target: str, is_folder: bool) -> None:
        """A link that is not followed: where it leads is told as the link tells it, so that clones say the same."""
        place = target if is_folder else os.path.dirname(target)
        if self.portable and not os.path.isabs(os.readlink(path)):
            place = os.path.relpath(place)
        place = printable(place)
        if is_folder:
            self.found.unfollowed[name] = place
        advice = self.allow.format(place)
        self.found.items.append((name, (LEAVING, f"to {place}{f'; {advice}' if advice else ''}")))


def _grids(folder: str, names: set[str]) -> frozenset[str]:
    """What of a folder `zerosum generate` and `explore` made: grids of many pictures each, and sounds of walks."""
    found: set[str] = set()
    if "grid.png" in names and any(NUMBERED.fullmatch(name) for name in names):
        found.add("grid.png")
    # Beside the folder of samples that it shows, which may be one class among others.
    found |= {name for name in names if name.endswith(BESIDE) and name.removesuffix(BESIDE) in names}
    if "explore.json" in names:
        try:
            record: Any = parse_json(regular.read(Path(folder) / "explore.json", limits.RECORD_BYTES))
            if "exploration" in record:
                found.update(f"{name}.png" for name in record["grids"])
                found.update(str(name) for name in record.get("sounds", ()))
        except (Rejected, Damaged, KeyError, TypeError):
            pass  # of someone else
    return frozenset(found)


def _begins_as(kind: Kind, path: str) -> bool:
    """Whether a file's first bytes are of this kind."""
    opened = regular.descriptor(path)
    try:
        return kind.begins.match(os.read(opened, FIRST)) is not None
    finally:
        os.close(opened)
