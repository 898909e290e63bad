"""What this machine keeps unpacked of compressed data, so that all its processes read any item of it at once.

<cache>/unpacked/<hash>      one flat file, known by the data's path, size and time of change
<cache>/unpacked/*.lock      who is unpacking

Beyond `UNPACKED_KEPT_BYTES` the least lately used go; what was unpacked last stays.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from pipeline import limits
from pipeline.errors import Damaged, UserError
from pipeline.storage import files

NAME = re.compile(r"[0-9a-f]{64}")
PIECE = 2**20
TIMES = 4  # images hardly shrink: an archive of more times its own size is odd


def allowed(path: Path, given: int | None) -> int:
    """To how many bytes a file may unpack: `given`, or what suits its size."""
    return given if given is not None else max(limits.ARCHIVE_UNPACKED_BYTES, TIMES * path.stat().st_size)


class Writer:
    """A file to write to, whose disk may be full: that is said as it is, and not as damage of what is unpacked."""

    def __init__(self, file: BinaryIO, place: Path) -> None:
        self._file, self._place = file, place

    def write(self, data: bytes | memoryview) -> None:
        """Append.

        Raises:
            UserError: if there is no room.
        """
        try:
            self._file.write(data)
        except OSError as error:
            if not files.disk_is_full(error):
                raise
            raise UserError(
                f"{self._place.parent} has no room for what is unpacked there; make room, or set ZEROSUM_CACHE to a "
                "folder that has more"
            ) from None

    def tell(self) -> int:
        """Bytes so far."""
        return self._file.tell()


def kept(path: Path, way: str, write: Callable[[Writer], None]) -> Path:
    """The flat file that `write` makes of `path`, made once for all processes of this machine.

    Args:
        way: what `write` does; another way of unpacking the same file is another flat file.
        write: called with a file to write to; what it raises leaves nothing behind.
    """
    status = path.stat()
    known_by = f"{way}\0{os.path.realpath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    folder = files.own_cache("unpacked")
    place = folder / hashlib.sha256(known_by.encode("utf-8", "surrogateescape")).hexdigest()
    if place.is_file():
        return place
    with FileLock(str(folder / f"{place.name[:2]}.lock")):
        if not place.is_file():
            with files.replacing(place) as temporary, temporary.open("wb") as file:
                write(Writer(file, place))
    _trim(folder, place)
    return place


def _trim(folder: Path, newest: Path) -> None:
    found: list[tuple[int, int, Path]] = []
    for path in folder.iterdir():
        if NAME.fullmatch(path.name) and path != newest:
            with suppress(FileNotFoundError):  # another process drops it too
                status = path.stat()
                found.append((max(status.st_mtime_ns, status.st_atime_ns), status.st_size, path))
    total = newest.stat().st_size + sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limits.UNPACKED_KEPT_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size


def stretch(path: Path, first: int, size: int) -> bytes:
    """`size` bytes of a file from byte `first` on.

    Raises:
        Damaged: if it is shorter.
        OSError: if it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.pread(descriptor, size, first)
        while len(found) < size and (more := os.pread(descriptor, size - len(found), first + len(found))):
            found += more
    finally:
        os.close(descriptor)
    if len(found) < size:
        raise Damaged(f"it ends {size - len(found)} bytes early")
    return found
