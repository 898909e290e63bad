"""A tar archive as a stream, packed or not, of which no more is read than it may hold, its headers included."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from pipeline import limits
from pipeline.data import unpacked
from pipeline.data.sources import _shared
from pipeline.errors import Damaged, UserError

TYPE = 156  # where a header's block has its kind
EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
DIGITS = re.compile(rb"\d{257}")  # a file's name has no more letters
WAYS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x5d\0\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
GLOBAL = 64  # entries of headers that hold for all members after them: each member gets a copy


def too_large(path: str, max_bytes: int) -> str:
    """What is said of an archive that holds more than it may."""
    return f"{path} unpacks to more than {max_bytes} bytes; if you trust it, raise max_unpacked_bytes"


def members(
    path: str, max_bytes: int, most: int = limits.ARCHIVE_MEMBERS, header_bytes: int = 0
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Each member, whose data is to be read before the next is asked for.

    Args:
        most: members that are read. header_bytes: what each may add to the headers that are read.

    Raises:
        UserError: where it holds more bytes than it may, more members, or longer headers.
        Damaged: if it is no whole archive; and what `tarfile` and those that unpack raise.
    """
    with Path(path).open("rb") as raw, _unpacked(raw) as plain:
        stream = _Stream(cast(BinaryIO, plain), path, max_bytes, header_bytes)
        with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r:") as tar:
            for _ in range(most):
                with stream.header():
                    member = tar.next()
                if member is None:
                    return
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] (it keeps all that it has seen)
                if len(tar.pax_headers) > GLOBAL:
                    raise UserError(f"{path} has {len(tar.pax_headers)} entries in headers of the whole archive")
                yield tar, member
            with stream.header():
                if tar.next() is not None:
                    raise UserError(f"{path} holds more than {most} members, which are read")


def unpack(path: str, max_bytes: int, file: unpacked.Writer) -> None:
    """Write to `file` what a compressed archive holds.

    Raises:
        UserError: where that is more than `max_bytes`.
        OSError and others: what those that unpack raise for damaged data.
    """
    written = 0
    with Path(path).open("rb") as raw, _unpacked(raw) as plain:
        while piece := plain.read(_shared.PIECE):
            written += len(piece)
            if written > max_bytes:
                raise UserError(too_large(path, max_bytes))
            file.write(piece)


def compression(start: bytes) -> str:
    """How an archive that begins so is compressed; empty where it is not."""
    for begin, way in WAYS.items():
        if start.startswith(begin):
            return way
    return ""


def _unpacked(raw: BinaryIO) -> io.BufferedIOBase:
    way = compression(raw.read(6))
    raw.seek(0)
    if way == "gzip":
        return gzip.GzipFile(fileobj=raw)
    if way == "bzip2":
        return bz2.BZ2File(raw)
    if way == "xz":
        return io.BufferedReader(_Xz(raw), _shared.PIECE)
    if way == "zstd":
        import pyarrow  # the standard library has none before Python 3.14

        return cast(io.BufferedIOBase, pyarrow.CompressedInputStream(raw, "zstd"))
    return cast(io.BufferedIOBase, raw)


class _Xz(io.RawIOBase):
    """What an .xz holds; `lzma.open` would take as much memory as the file asks for."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._rest = raw, b""
        self._decompressor = self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=limits.ARCHIVE_XZ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while True:
            if self._decompressor.eof:
                # Another stream may follow, or zeros that pad the last one.
                self._rest = (self._decompressor.unused_data or self._raw.read(_shared.PIECE)).lstrip(b"\0")
                if not self._rest:
                    return 0
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not self._rest:
                self._rest = self._raw.read(_shared.PIECE)
                if not self._rest:
                    raise EOFError("it is cut short")
            found = self._decompressor.decompress(self._rest, len(buffer))
            self._rest = b""
            if found:
                buffer[: len(found)] = found
                return len(found)


class _Stream:
    """The file that tarfile reads: forwards only, no more than `max_bytes`, and of headers no more than they may be.

    tarfile reads long names and extended headers, of any size, before it gives the member that they belong to.
    """

    def __init__(self, plain: BinaryIO, path: str, max_bytes: int, header_bytes: int) -> None:
        self._unpacked, self._path, self._max_bytes = plain, path, max_bytes
        self._plain = isinstance(plain, io.BufferedReader) and not isinstance(plain.raw, _Xz)
        self._more = tarfile.BLOCKSIZE + header_bytes
        self._place = 0
        self._in_header = True  # tarfile reads the first member as it opens
        self._extended = False
        self._headers_left = limits.ARCHIVE_HEADER_BYTES + self._more

    def header(self) -> _Header:
        """While it lasts, what is read is headers, a block of which every member has."""
        return _Header(self._of_header)

    def _of_header(self, begins: bool) -> None:
        self._in_header = begins
        self._headers_left += self._more * begins

    def read(self, size: int) -> bytes:
        if self._in_header:
            self._headers_left -= size
            if self._headers_left < 0:
                raise UserError(f"{self._path} has headers of more than {limits.ARCHIVE_HEADER_BYTES} bytes")
            found = self._take(size)
            if 0 < len(found) < size:  # tarfile would take it for the end
                raise Damaged("it is cut short")
            if self._extended:
                _check_extended(found)
            # tarfile reads a block, and where that says so, at once what it announces.
            self._extended = not self._extended and found[TYPE : TYPE + 1] in EXTENDED
            return found
        return self._take(size)

    def _take(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size > 0 and (piece := self._unpacked.read(min(size, _shared.PIECE))):
            pieces.append(piece)
            size -= len(piece)
            self._place += len(piece)
            if self._place > self._max_bytes:
                raise UserError(too_large(self._path, self._max_bytes))
        return b"".join(pieces)

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or place < self._place:
            raise Damaged("it leads back to what was read")
        if self._plain and place > self._place:
            if place > self._max_bytes:
                raise UserError(too_large(self._path, self._max_bytes))
            self._place = self._unpacked.seek(place)
        while self._place < place and self._take(min(place - self._place, _shared.PIECE)):
            pass
        return self._place

    def seekable(self) -> bool:
        return True


def _check_extended(data: bytes) -> None:
    """Refuse an extended header that is no row of records: older versions of tarfile take hours to look for them.

    Each is its own length in digits, a blank, a key, =, a value and a line's end; behind the last there are zeros.

    Raises:
        Damaged: if it is none.
    """
    place = 0
    while place < len(data) and data[place]:
        blank = data.find(b" ", place, place + 9)
        length = data[place:blank] if blank > 0 else b""
        end = place + int(length) if length.isdigit() else 0
        equals = data.find(b"=", blank + 1, end)
        if end > len(data) or equals <= blank + 1 or data[end - 1 : end] != b"\n":
            raise Damaged("an extended header is none")
        place = end
    if data[place:].strip(b"\0"):
        raise Damaged("an extended header is none")
    if data.count(b" hdrcharset=") > 1 or DIGITS.search(data):
        raise Damaged("an extended header says what no writer does")


class _Header:
    def __init__(self, tell: Callable[[bool], None]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        self._tell(True)

    def __exit__(self, *_: object) -> None:
        self._tell(False)
