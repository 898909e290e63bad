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

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from pipeline import limits
from pipeline.data.links import Followed, Links, inside
from pipeline.data.source import Problem, printable
from pipeline.errors import Damaged, Rejected
from pipeline.storage.damage import parse_json

Item = tuple[str, Problem | None]
"""A path relative to the folder, with `/`, and why it cannot be used, if that is seen already."""

LEAVING = "symlink leaving the folder"
HIDDEN, LEFT, GRID, OTHER, CIRCLE = (
    "hidden",
    "left by the operating system or a tool",
    "a grid that zerosum made",
    "no {}",
    "a link back to a folder that holds it",
)
LEFT_BEHIND = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "folder.htt", "picasa.ini"}
    | {"__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "system volume information"}
    | {"lost+found", "found.000"}
)
WITHOUT_ENDING = frozenset(
    {"readme", "license", "licence", "copying", "copyright", "notice", "authors", "changelog", "citation", "makefile"}
)
READ_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"})
OTHER_IMAGES = frozenset(
    {".apng", ".avif", ".bmp", ".cr2", ".cr3", ".arw", ".dib", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif"}
    | {".ico", ".j2k", ".jp2", ".jxl", ".mpo", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psd"}
    | {".qoi", ".raf", ".rw2", ".svg", ".tga", ".tif", ".tiff"}
)
READ_SOUNDS = frozenset({".wav", ".wave"})
OTHER_SOUNDS = frozenset(
    {".aac", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a", ".mp3", ".oga", ".ogg"}
    | {".opus", ".rf64", ".snd", ".sph", ".w64", ".wma", ".wv"}
)
NO_DATA = frozenset(
    {".caption", ".captions", ".tags", ".txt", ".text", ".md", ".rst", ".log", ".lst", ".srt", ".vtt", ".lab"}
    | {".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".html", ".htm"}
    | {".py", ".pyc", ".sh", ".ipynb", ".pdf", ".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".h5", ".mat"}
    | {".parquet", ".arrow", ".db", ".sqlite", ".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".dvc"}
    | {".url", ".lnk", ".webloc", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mid", ".midi"}
)
BESIDE = "-grid.png"
NUMBERED = re.compile(r"[0-9]{5,}\.(png|wav)")
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9_-]{0,15}$")
LINKS_IN_A_ROW = 4  # folders that link to each other could be walked in as many ways as there are orders of them
FIRST = 64  # bytes that tell a kind
KINDS_SHOWN = 20


@dataclass(frozen=True)
class Kind:
    """The kind of file that is looked for. endings: of items; others: of files that cannot be items, read or not."""

    name: str
    read: str
    endings: frozenset[str]
    others: frozenset[str]
    begins: re.Pattern[bytes]


IMAGES = Kind(
    "image",
    "PNG, JPEG or WebP",
    READ_IMAGES | OTHER_IMAGES,
    NO_DATA | READ_SOUNDS | OTHER_SOUNDS,
    re.compile(
        rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP|GIF8[79]a|II[*+]\0|MM\0[*+]|8BPS|qoif|#\?RADIANCE|v/1\x01"
        rb"|....ftyp(avif|avis|heic|heix|heim|hevc|mif1|msf1)|\0\0\0\x0c(JXL |jP  )"
        rb"|BM....\0\0\0\0....[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|P[1-6]\s+(#[^\n]*\n\s*)?\d+\s+\d+",
        re.DOTALL,
    ),
)
SOUNDS = Kind(
    "wav file",
    "PCM or float wav files",
    READ_SOUNDS | OTHER_SOUNDS,
    NO_DATA | READ_IMAGES | OTHER_IMAGES,
    re.compile(
        rb"(RIFF|RIFX|RF64|BW64)....WAVE|ID3|fLaC|OggS|FORM....AIF[FC]|\.snd\0|caff\0|....ftypM4A|riff.{20}wave"
        rb"|#!AMR|MAC ",
        re.DOTALL,
    ),
)


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
    ending = ENDING.search(name)
    return ending[0].lower() if ending else name if "." not in name else "other"


# --- splits -----------------------------------------------------------------------------------------

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval", "holdout"})


def are_splits(folders: Iterable[str]) -> bool:
    """Whether all of these sub-folders, and there are some, are named as parts of one data set, not as classes."""
    names = list(folders)
    return bool(names) and all(name.lower() in SPLITS for name in names)


# --- reading ----------------------------------------------------------------------------------------


def read(path: Path, max_bytes: int) -> bytes:
    """What a regular file holds; a link at `path` is followed, whatever its target has become is looked at first.

    Raises:
        Rejected: if it is no regular file, cannot be read, or holds more than `max_bytes`.
    """
    try:
        with opened(path) as file:
            status = os.fstat(file.fileno())
            if status.st_size > max_bytes:
                raise Rejected("too many bytes", f"{status.st_size}, allowed are {max_bytes}")
            pieces = [file.read(status.st_size + 1)]
            total = len(pieces[0])
            while pieces[-1] and total <= max_bytes:  # it may have grown
                pieces.append(file.read(min(2**20, max_bytes + 1 - total)))
                total += len(pieces[-1])
            if total > max_bytes:
                raise Rejected("too many bytes", f"more than {max_bytes}, which are allowed")
            return pieces[0] if len(pieces) <= 2 else b"".join(pieces)
    except OSError as error:
        raise Rejected("cannot be read", error.strerror or "") from None


def opened(path: Path) -> FileIO:
    """A regular file; a link at `path` is followed.

    Raises:
        Rejected: if it is something else.
        OSError: if it cannot be opened.
    """
    file = os.fdopen(_opened(os.fspath(path)), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Rejected("not a regular file")
    return file


def _opened(path: str) -> int:
    """A descriptor, for which no FIFO is waited for: a link's target is resolved once and not followed again."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK):
            raise
        return os.open(os.path.realpath(path, strict=True), flags)


def _begins_as(kind: Kind, path: str) -> bool:
    """Whether a file's first bytes are of this kind."""
    descriptor = _opened(path)
    try:
        return kind.begins.match(os.read(descriptor, FIRST)) is not None
    finally:
        os.close(descriptor)


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
                if (why := _why_passed(child.name)) is not None:
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
        ending = _ending(own)
        try:
            item = ending in self.kind.endings or _begins_as(self.kind, path)
        except OSError:
            if ending not in self.kind.others:
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
        name, surely_none = folder.name + own, _ending(own) in self.kind.others or own.lower() in WITHOUT_ENDING
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
            record: Any = parse_json(read(Path(folder) / "explore.json", limits.RECORD_BYTES))
            if "exploration" in record:
                found.update(f"{name}.png" for name in record["grids"])
                found.update(str(name) for name in record.get("sounds", ()))
        except (Rejected, Damaged, KeyError, TypeError):
            pass  # of someone else
    return frozenset(found)


def _why_passed(name: str) -> str | None:
    if name.startswith("."):
        return LEFT if name in (".DS_Store", ".ipynb_checkpoints") or name.startswith("._") else HIDDEN
    return LEFT if name.lower() in LEFT_BEHIND or (name.endswith("~") and len(name) > 1) else None


def _ending(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
