"""Regular files alone: a link is resolved once, and no pipe or device is waited for."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

from pipeline.errors import Rejected


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
    file = os.fdopen(descriptor(os.fspath(path)), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Rejected("not a regular file")
    return file


def descriptor(path: str) -> int:
    """A descriptor, for which no FIFO is waited for: a link's target is resolved once and not followed again."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK):
            raise
        return os.open(os.path.realpath(path, strict=True), flags)
