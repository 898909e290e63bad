"""Small files that stand for large ones."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

MIB = 2**20
END = b"\0" * 1024


def zeros(megabytes: int, wbits: int) -> bytes:
    """So many zeros, deflated: one block of a MiB, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * (megabytes - 1) + packer.flush(zlib.Z_FINISH)


def gzipped(*pieces: bytes, megabytes: int = 0) -> bytes:
    """gzip of the first piece, so many MiB of zeros, and the other pieces: a member of the file each."""
    packed = [_member(piece) for piece in pieces]
    return packed[0] + _member(bytes(MIB)) * megabytes + b"".join(packed[1:])


def _member(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def unpacking_to(path: Path, name: str, megabytes: int) -> Path:
    """A zip archive whose one member holds so many MiB of zeros."""
    data = zeros(megabytes, -15)
    crc = 0
    for _ in range(megabytes):
        crc = zlib.crc32(bytes(MIB), crc)
    return packed_as(path, name, data, crc, megabytes * MIB, zipfile.ZIP_DEFLATED)


def packed_as(path: Path, name: str, data: bytes, crc: int, told: int, way: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive of one member, with these words about it."""
    fields = struct.pack("<HHHHHIIIHH", 20, 0, way, 0, 33, crc, len(data), told, len(name), 0)
    local = b"PK\3\4" + fields + name.encode()
    central = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    place = len(local) + len(data)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), place, 0)
    path.write_bytes(local + data + central + end)
    return path


def overlapping(path: Path, count: int) -> Path:
    """A zip archive of many members that are all the same bytes of it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data/0", bytes(MIB))
    data = file.getvalue()
    (table,) = struct.unpack_from("<I", data, len(data) - 6)
    entry = data[table : len(data) - 22]
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(entry) * count, table, 0)
    path.write_bytes(data[:table] + entry * count + end)
    return path


def png(width: int, height: int, megabytes: int = 0) -> bytes:
    """A PNG of RGBA that says that it is so large."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))]
    chunks += [(b"IDAT", zeros(max(1, megabytes), 15)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def sparse(path: Path, size: int, begins: bytes = b"") -> Path:
    """A file of so many bytes, which takes no room."""
    with path.open("wb") as file:
        file.write(begins)
        file.truncate(size)
    return path


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data


def record(key: bytes, value: bytes) -> bytes:
    """A line of an extended header: it begins with its own length."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def jpeg(side: int, scans: int) -> bytes:
    """A grey progressive JPEG that says so often, in a few bytes each, that nothing is to be added to its picture."""

    def segment(kind: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body

    def table(place: int, value: int) -> bytes:
        return segment(0xC4, bytes([place, 1, *[0] * 15, value]))

    parts = [segment(0xDB, bytes([0, *[1] * 64])), segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")]
    parts += [table(0, 0), table(0x10, 0xE0), segment(0xDA, bytes([1, 1, 0, 0, 0, 0])), bytes(side * side // 512)]
    return b"\xff\xd8" + b"".join(parts) + segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) * scans + b"\xff\xd9"
