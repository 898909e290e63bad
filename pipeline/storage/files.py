"""How every artefact reaches the disk: whole or not at all, with its sha256 on record."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import limits
from pipeline.errors import BrokenArtefact, Damaged
from pipeline.storage import private
from pipeline.storage.damage import parse_json

PIECE = 2**20
FULL = {errno.ENOSPC, errno.EDQUOT}


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """Sorted, indented, newline-ended JSON: equal values give equal bytes."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256_json(value: Any) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value))


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary sibling to write to; on leaving it is synced and renamed onto `path`.

    An exception, or a kill, leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        private.readable(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> str:
    """Write atomically; returns the sha256."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return sha256_bytes(data)


def write_json(path: Path, value: Any) -> str:
    """Write canonical JSON atomically; returns the sha256."""
    return write_bytes(path, canonical_json(value))


def contents(path: Path, most: int, made_by: str) -> bytes:
    """The bytes of a regular file of at most `most`; a pipe in its place is not waited for.

    Raises:
        BrokenArtefact: if it is missing, no regular file, or larger; `made_by` says what would make it.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BrokenArtefact(f"{path} is not a regular file; {made_by} makes it")
            found = file.read(min(status.st_size, most) + 1)
            while len(found) > status.st_size and len(found) <= most and (more := file.read(PIECE)):
                found += more  # it has grown
    except FileNotFoundError:
        raise BrokenArtefact(f"{path} is missing; {made_by} makes it") from None
    except OSError as error:
        raise BrokenArtefact(f"{path} cannot be read ({error.strerror}); {made_by} makes it") from None
    except ValueError as error:  # a zero byte in the name
        raise BrokenArtefact(f"{str(path)!r} cannot be read ({error}); {made_by} makes it") from None
    if max(status.st_size, len(found)) > most:
        raise BrokenArtefact(f"{path} has {max(status.st_size, len(found))} bytes, and {most} are read of such a file")
    return found


def read_json(path: Path, made_by: str) -> Any:
    """The JSON in `path`.

    Raises:
        BrokenArtefact: if it is missing, too large or no JSON; `made_by` says what would make it.
    """
    data = contents(path, limits.JSON_BYTES, made_by)
    try:
        return parse_json(data, finite=True)
    except Damaged as error:
        raise BrokenArtefact(f"{path} is not valid JSON ({error}); remove it and let {made_by} make it again") from None


def verify(path: Path, sha256: str, made_by: str) -> None:
    """Raise `BrokenArtefact` unless the file is there and has this sha256.

    The sha256 that it has is not told: a manifest may be a stranger's, and name any file by a link.
    """
    if not path.is_file():
        raise BrokenArtefact(f"{path} is missing; {made_by} makes it")
    try:
        found = sha256_file(path)
    except OSError as error:
        raise BrokenArtefact(f"{path} cannot be read ({error.strerror}); {made_by} makes it") from None
    if found != sha256:
        raise BrokenArtefact(f"{path} has sha256 unlike what its manifest says ({sha256[:12]}…); run {made_by} again")


@contextmanager
def replacing_folder(path: Path) -> Generator[Path]:
    """A temporary sibling folder that becomes `path`, replacing what was there, on a clean exit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            private.readable(file)
            _sync(file)
        private.readable(temporary)
        _sync(temporary)
        if path.exists():
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep_temporaries(folder: Path, report: Callable[[str], None] | None = None) -> None:
    """Remove what killed writers left in `folder`: only names that `replacing…` makes."""
    if not folder.is_dir():
        return
    for pattern in (".*.tmp", ".*.old"):
        for left in folder.glob(pattern):
            if report:
                report(f"removing {left.name}, left by a killed run")
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Where this machine keeps what it has fetched: $ZEROSUM_CACHE, else zerosum/ in $XDG_CACHE_HOME or ~/.cache.

    It is made for its owner alone.

    Raises:
        UserError: if it is there and others can write to it. One that ZEROSUM_CACHE names may be a team's.
    """
    own = os.environ.get("ZEROSUM_CACHE")
    if own:
        return Path(own).expanduser()
    return private.folder(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "zerosum")


def own_cache(name: str) -> Path:
    """A part of the cache that is used without looking at each file again: its owner's alone, wherever the cache is.

    In a team's cache the first to come has it by its name, and others have theirs, with their numbers behind it.

    Raises:
        UserError: if it is there and others can write to it.
    """
    path = cache_folder() / name
    if os.environ.get("ZEROSUM_CACHE") and private.is_anothers(path):
        path = path.with_name(f"{name}-{os.getuid()}")
    return private.folder(path)


def disk_is_full(error: Exception) -> bool:
    """Whether this is what writing to a full disk, or beyond a quota, raises."""
    # safetensors names the operating system's number in its text alone.
    said = str(error)
    named = any(f"code: {number}," in said or f"(os error {number})" in said for number in FULL)
    return named or getattr(error, "errno", None) in FULL


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
