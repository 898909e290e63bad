"""CIFAR-10 in its official binary layout: the archive as it is downloaded, or the folder in it.

A record is one label byte and 3,072 bytes: 32×32 of red, then green, then blue
(https://www.cs.toronto.edu/~kriz/cifar.html). The "python" archive holds pickles, which are
never read. Archives are read as a stream: nothing in them is ever written to a path of theirs.
"""

from __future__ import annotations

import functools
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits
from pipeline.data import regular
from pipeline.data.links import Followed, Links
from pipeline.data.listing import LEAVING
from pipeline.data.source import DataSource, Entry, Limits, printable
from pipeline.data.sources import _shared, _tar
from pipeline.errors import Damaged, Rejected, SettingsError, UserError
from pipeline.settings import DataPath, Settings
from pipeline.storage.damage import reading

RECORD = 1 + 3 * 32 * 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WANTED = {"train": r"data_batch_\d+\.bin", "test": r"test_batch\.bin", "all": r"(data_batch_\d+|test_batch)\.bin"}
META = "batches.meta.txt"
UNPACKED = "cifar-10-batches-bin"


class Config(Settings):
    """Where it is and which part of it."""

    path: DataPath = Field(description="cifar-10-binary.tar.gz (or .tar.xz, .tar), or the folder of *.bin files")
    part: Literal["train", "test", "all"] = "train"
    links: _shared.LinksSetting = Field(default="auto", description=f"of a folder, {_shared.LINKS}")
    max_unpacked_bytes: int = Field(
        default=limits.ARCHIVE_UNPACKED_BYTES, ge=1, description="the archive may not unpack to more"
    )


class Source(DataSource[Config]):
    """32×32 RGB, ten classes, batches by name, records in their order."""

    paths = ("path",)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        (folder / "data_batch_1.bin").write_bytes((b"\3" + bytes(3072)) * 2 + b"\xff" + bytes(3072))
        return {"path": str(folder)}

    def check(self, where: str = "ingest.source") -> None:
        path = Path(self.config.path)
        if not path.exists():
            raise SettingsError(f"{where}.path: '{path}' does not exist (paths are relative to {Path.cwd()})")
        _shared.require_links(self.config.links, where)
        if path.is_dir() and not any(_wanted(self.config.part, child.name) for child in path.iterdir()):
            hint = f"; '{path / UNPACKED}' may: set path: {path / UNPACKED}" if (path / UNPACKED).is_dir() else ""
            raise SettingsError(f"{where}.path: '{path}' holds no {WANTED[self.config.part]} files{hint}")
        if path.is_dir() and self._opened.refused:
            name, (reason, detail) = self._opened.refused[0]
            told = f" ({detail})" if detail else ""
            raise SettingsError(
                f"{where}.path: '{path / name}', all the records of a batch, cannot be read: {reason}{told}"
            )

    def native_shape(self) -> tuple[int, int, int]:
        return 3, 32, 32

    def classes(self) -> tuple[str, ...]:
        return self._opened.classes

    def expected_classes(self) -> tuple[str, ...]:
        return self.classes() if Path(self.config.path).is_dir() else CLASSES

    def entries(self) -> list[Entry]:
        opened = self._opened
        found = [Entry(name, (), problem=problem) for name, problem in opened.refused]
        for number, batch in enumerate(opened.batches):
            whole, rest = divmod(len(batch.data), RECORD)
            labels = batch.data[: whole * RECORD : RECORD]
            found += [self._entry(batch.name, number, item, int(labels[item])) for item in range(whole)]
            if rest:
                problem = ("truncated record", f"{rest} of {RECORD} bytes")
                found.append(Entry(f"{batch.name}/{whole:05d}", (number, whole), problem=problem))
        return found

    def expected_entries(self) -> list[Entry] | None:
        return self.entries() if Path(self.config.path).is_dir() else None

    def _entry(self, name: str, number: int, item: int, label: int) -> Entry:
        key, where, classes = f"{name}/{item:05d}", (number, item), self.classes()
        if label >= len(classes):
            return Entry(key, where, problem=("unknown label", f"{label}, and there are {len(classes)} classes"))
        return Entry(key, where, classes[label])

    def fetch(self, entry: Entry, limits: Limits) -> bytes:
        number, item = cast(tuple[int, int], entry.where)
        return self._opened.batches[number].data[item * RECORD + 1 : (item + 1) * RECORD].tobytes()

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.uint8]:
        return np.frombuffer(stored, dtype=np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)

    @functools.cached_property
    def _opened(self) -> _Opened:
        path = Path(self.config.path)
        if path.is_dir():
            files = tuple(sorted((*_shared.identity(c), os.path.realpath(c)) for c in path.iterdir() if c.is_file()))
            return _folder(path, self.config.part, self.config.links, files)
        return _archive(*_shared.identity(path), self.config.part, self.config.max_unpacked_bytes)


@dataclass(frozen=True)
class _BatchFile:
    name: str
    data: _shared.Bytes


@dataclass(frozen=True)
class _Opened:
    """Batches by name, class names, and what was refused with (reason, detail)."""

    batches: tuple[_BatchFile, ...]
    classes: tuple[str, ...]
    refused: tuple[tuple[str, tuple[str, str]], ...]


def _wanted(part: str, name: str) -> bool:
    return re.fullmatch(WANTED[part], name) is not None


def _sorted(found: dict[str, _shared.Bytes]) -> tuple[_BatchFile, ...]:
    """By number, then name: data_batch_10 after data_batch_2, the test batch last."""
    names = sorted(found, key=lambda name: (name.startswith("test"), len(name), name))
    return tuple(_BatchFile(name.removesuffix(".bin"), found[name]) for name in names)


def _class_names(text: bytes, where: str) -> tuple[str, ...]:
    names = tuple(line.strip() for line in text.decode("utf-8", "backslashreplace").splitlines() if line.strip())
    if not names or len(names) > 256 or len(set(names)) != len(names):
        raise UserError(f"{where}: {META} must hold up to 256 different class names, one a line")
    return names


@functools.lru_cache(maxsize=4)
def _folder(path: Path, part: str, links: Links, _files: tuple[tuple[str | int, ...], ...]) -> _Opened:
    followed = Followed((path,), links)
    found: dict[str, _shared.Bytes] = {}
    refused: list[tuple[str, tuple[str, str]]] = []
    for child in sorted(path.iterdir()):
        if _wanted(part, child.name):
            target = Path(os.path.realpath(child))  # `resolve` raises for a link to itself
            if child.is_symlink() and not target.exists():
                refused.append((child.name, ("broken symlink", "")))
            elif child.is_symlink() and not followed.may(str(target), target.is_dir()):
                advice = _shared.ALLOW.format(printable(str(target.parent)))
                refused.append((child.name, (LEAVING, f"to {printable(str(target.parent))}; {advice}")))
            elif child.is_file():
                found[child.name] = _shared.mapped(child)
            else:
                refused.append((child.name, ("not a regular file", "")))
    meta = path / META
    try:
        text = regular.read(meta, limits.CLASS_NAMES_BYTES) if meta.is_file() else None
    except Rejected as error:
        raise UserError(f"{meta}: {error.reason}") from None
    classes = CLASSES if text is None else _class_names(text, str(path))
    return _Opened(_sorted(found), classes, tuple(refused))


# --- archives ---------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _archive(path: str, _size: int, _changed: int, part: str, max_bytes: int) -> _Opened:
    """One pass over the archive's stream.

    Raises:
        UserError: if it is damaged, unpacks to too much, or holds no binary batch.
    """
    taken = _Archive(path, part, max_bytes)
    try:
        with reading():
            for tar, member in _tar.members(path, max_bytes):
                taken.take(tar, member)
    except Damaged as error:
        raise UserError(f"{path} is no whole tar archive ({error}); fetch it again") from None
    return taken.opened()


class _Archive:
    """What is gathered on the way through an archive."""

    def __init__(self, path: str, part: str, max_bytes: int) -> None:
        self.path, self.part, self.left, self.max_bytes = path, part, max_bytes, max_bytes
        self.found: dict[str, _shared.Bytes] = {}
        self.refused: list[tuple[str, tuple[str, str]]] = []
        self.classes = CLASSES
        self.pickled = False

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Keep a wanted batch, refuse a hostile member, pass over anything else.

        Raises:
            UserError: if the archive holds more than is read.
        """
        self.left -= member.size + tarfile.BLOCKSIZE
        if self.left < 0:
            raise UserError(_tar.too_large(self.path, self.max_bytes))
        name = PurePosixPath(member.name)
        problem = _problem(member, name)
        if problem:
            self.refused.append((printable(member.name), problem))
        elif _wanted(self.part, name.name) and name.name in self.found:
            self.refused.append((printable(member.name), ("a second member of this name", "")))
        elif _wanted(self.part, name.name):
            self.found[name.name] = _shared.spool(lambda file: _copy(tar, member, file))
        elif name.name == META and member.size <= limits.CLASS_NAMES_BYTES:
            content = tar.extractfile(member)
            self.classes = _class_names(content.read() if content else b"", self.path)
        elif re.fullmatch(r"data_batch_\d+|test_batch", name.name):
            self.pickled = True

    def opened(self) -> _Opened:
        if self.found or self.refused:
            return _Opened(_sorted(self.found), self.classes, tuple(self.refused))
        if self.pickled:
            raise UserError(
                f"{self.path} is the Python version of CIFAR-10: pickles, which are never read; "
                "fetch the binary version, cifar-10-binary.tar.gz"
            )
        raise UserError(f"{self.path} holds no {WANTED[self.part]} files; is it cifar-10-binary.tar.gz?")


def _problem(member: tarfile.TarInfo, name: PurePosixPath) -> tuple[str, str] | None:
    """Why a member is refused, if it is."""
    if name.is_absolute() or ".." in name.parts:
        return "path leaving the archive", ""
    if member.issym() or member.islnk():
        return "link in an archive", f"to {printable(member.linkname)}"
    if not member.isdir() and (not member.isreg() or member.issparse()):
        return "not a regular file", ""
    return None


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, file: BinaryIO) -> None:
    content = tar.extractfile(member)
    while content and (piece := content.read(_shared.PIECE)):
        file.write(piece)
