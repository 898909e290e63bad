"""Zip archives of strangers (.npz, .pth): what they hold, looked at before anything is unpacked."""

from __future__ import annotations

import os
import struct
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from pipeline import limits
from pipeline.errors import Damaged, UserError
from pipeline.storage.damage import reading

ENTRY, END, END_64, LOCATOR = b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7"
END_BYTES, END_64_BYTES, LOCATOR_BYTES = 22, 56, 20
COMMENT = 2**16
TAIL_BYTES = END_BYTES + COMMENT + LOCATOR_BYTES + END_64_BYTES
STORED = (zipfile.ZIP_STORED,)
USUAL = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def is_zip(path: Path) -> bool:
    """Whether a file begins, or ends, as a zip archive."""
    with reading():
        return zipfile.is_zipfile(path)


def members(path: Path | BinaryIO, ways: tuple[int, ...] = USUAL) -> list[zipfile.ZipInfo]:
    """The members of an archive, none of them packed in another way than `ways`.

    Raises:
        Damaged: if it is no zip archive, its table of members is too long, or a member is packed in another way.
    """
    with reading():
        size = _table_bytes(path)
        if size > limits.ZIP_TABLE_BYTES:
            raise Damaged(f"its table of members has {size} bytes, and {limits.ZIP_TABLE_BYTES} are allowed")
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
    for info in found:
        if info.compress_type not in ways or info.flag_bits & 1:
            raise Damaged(f"its member {info.filename[:80]!r} is packed in a way that is not read")
    return found


def table(path: Path, most: int, raised_by: str) -> list[zipfile.ZipInfo]:
    """All members of an archive that may have many, whichever way they are packed.

    Raises:
        UserError: if there are more than `most`; it names the setting that raises it.
        Damaged: if it is no zip archive, or its table of members is too long.
    """
    with reading():
        size = _table_bytes(path)
        if size > limits.ARCHIVE_TABLE_BYTES:
            raise Damaged(f"its table of members has {size} bytes, and {limits.ARCHIVE_TABLE_BYTES} are allowed")
        with path.open("rb") as file:
            file.seek(-min(path.stat().st_size, size + TAIL_BYTES), os.SEEK_END)
            count = file.read().count(ENTRY)  # each begins so, and perhaps some names
        if count > most:
            raise UserError(
                f"{path} holds more than {most} members, which are read; if you trust it, raise {raised_by}"
            )
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()


def _table_bytes(path: Path | BinaryIO) -> int:
    """How long the table of members says it is; zipfile reads all of it at once."""
    with path.open("rb") if isinstance(path, Path) else nullcontext(path) as file:
        size = file.seek(0, os.SEEK_END)
        tail_bytes = min(size, TAIL_BYTES)
        file.seek(size - tail_bytes)
        tail = file.read(tail_bytes)
    # As zipfile looks for it: at the very end, else before the longest comment.
    place = len(tail) - END_BYTES if tail[-END_BYTES:-18] == END and tail[-2:] == b"\0\0" else tail.rfind(END)
    if place < 0 or len(tail) - place < END_BYTES:
        raise Damaged("it is no zip archive, or its end is missing")
    (told,) = struct.unpack_from("<I", tail, place + 12)
    locator = place - LOCATOR_BYTES
    whole = locator - END_64_BYTES
    if whole >= 0 and tail[locator : locator + 4] == LOCATOR and tail[whole : whole + 4] == END_64:
        (told,) = struct.unpack_from("<Q", tail, whole + 40)
    return told
