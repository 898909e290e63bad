"""What sources share: large files and unpacked streams as memory maps, errors about missing files."""

from __future__ import annotations

import functools
import gzip
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.data.source import Limits, Rejected
from pipeline.settings import SettingsError, UserError

Bytes = NDArray[np.uint8]
Problem = tuple[str, str]
PIECE = 2**20


def require_file(path: str, where: str) -> None:
    """Raise a `SettingsError` about the key `where` unless `path` is a file."""
    if not Path(path).is_file():
        kind = "is a folder, not a file" if Path(path).is_dir() else "does not exist"
        raise SettingsError(f"{where}: '{path}' {kind} (paths are relative to {Path.cwd()})")


def require_folder(path: str, where: str) -> None:
    """Raise a `SettingsError` about the key `where` unless `path` is a folder."""
    if not Path(path).is_dir():
        kind = "is a file, not a folder" if Path(path).is_file() else "does not exist"
        raise SettingsError(f"{where}: '{path}' {kind} (paths are relative to {Path.cwd()})")


def identity(path: Path) -> tuple[str, int, int]:
    """What a cached view of a file is known by: path, size, time of change."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def spool(copy: Callable[[BinaryIO], None]) -> Bytes:
    """What `copy` writes, as a read-only memory map of an unnamed temporary file."""
    with tempfile.TemporaryFile() as file:
        copy(file)
        file.flush()
        if file.tell() == 0:
            return np.zeros(0, dtype=np.uint8)
        return np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))


def mapped(path: Path) -> Bytes:
    """The bytes of a plain file, mapped."""
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) if path.stat().st_size else np.zeros(0, np.uint8)


def unzipped(path: Path, max_bytes: int) -> Bytes:
    """The bytes of a file, unpacked first where it is gzip; opened once a process.

    Raises:
        UserError: if it is damaged, or unpacks to more than `max_bytes`.
    """
    return _unzipped(*identity(path), max_bytes)


@functools.lru_cache(maxsize=8)
def _unzipped(path: str, _size: int, _changed: int, max_bytes: int) -> Bytes:
    with Path(path).open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if not zipped:
        return mapped(Path(path))
    try:
        with gzip.open(path, "rb") as stream:
            return spool(lambda file: copy_capped(stream, file, max_bytes, path))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut short ({error}); fetch it again") from None


def copy_capped(stream: gzip.GzipFile, file: BinaryIO, max_bytes: int, path: str) -> None:
    """Copy a stream, but no more than `max_bytes` of it."""
    written = 0
    while piece := stream.read(PIECE):
        written += len(piece)
        if written > max_bytes:
            raise UserError(f"{path} unpacks to more than {max_bytes} bytes; if you trust it, raise max_unpacked_bytes")
        file.write(piece)


def file_bytes(path: Path, limits: Limits) -> bytes:
    """What a file holds.

    Raises:
        Rejected: if it cannot be read, or is larger than one item may be.
    """
    try:
        if path.stat().st_size > limits.max_bytes:
            raise Rejected("too many bytes", f"{path.stat().st_size}, allowed are {limits.max_bytes}")
        return path.read_bytes()
    except OSError as error:
        raise Rejected("cannot be read", error.strerror or "") from None


def walk(folder: Path, root: Path) -> Iterator[tuple[str, Problem | None]]:
    """Every file below `folder`, as a path relative to `root`, and what is wrong with it, if anything is.

    Links to files within the root are followed; links out of it, and to folders, are not.
    """
    try:
        children = list(os.scandir(folder))
    except OSError as error:
        yield folder.relative_to(root).as_posix(), ("cannot be read", error.strerror or "")
        return
    for child in children:
        name = Path(child.path).relative_to(root).as_posix()
        if child.is_symlink():
            yield name, _link_problem(Path(child.path), root)
        elif child.is_dir():
            yield from walk(Path(child.path), root)
        else:
            yield name, None if child.is_file() else ("not a regular file", "")


def _link_problem(path: Path, root: Path) -> Problem | None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "broken symlink", ""
    if not target.is_relative_to(root):
        return "symlink leaving the folder", ""
    return None if target.is_file() else ("symlink to a folder", "")


def listed(folder: Path) -> list[tuple[str, Problem | None]]:
    """`walk` over a folder in the order of the names' bytes; hidden files are left out."""
    root = folder.resolve()
    found = [item for item in walk(root, root) if not any(part.startswith(".") for part in item[0].split("/"))]
    return sorted(found, key=lambda item: os.fsencode(item[0]))


def require_subfolder(folder: str, name: str, where: str) -> None:
    """Raise a `SettingsError` unless `folder` holds a sub-folder `name` with something in it."""
    path = Path(folder) / name
    if not path.is_dir():
        there = sorted(child.name for child in Path(folder).iterdir() if child.is_dir())
        known = f"; there are {', '.join(there[:8])}" if there else ", nor any other"
        raise SettingsError(f"{where}: '{folder}' holds no sub-folder '{name}'{known}")
    if not any(files for _, _, files in os.walk(path)):
        raise SettingsError(f"{where}: '{path}' is empty")
