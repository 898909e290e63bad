"""The members of a zip or tar archive: their names, where each lies, and one read without the others.

Nothing is unpacked to a path of the archive's own. A zip and a plain tar are read in place. A compressed tar is
unpacked once into this machine's cache, as a plain tar, and read there.
"""

from __future__ import annotations

import functools
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline import limits
from pipeline.data import unpacked
from pipeline.data.source import Limits, Problem, printable
from pipeline.data.sources import _shared, _tar
from pipeline.errors import Damaged, Rejected, UserError
from pipeline.storage import zips
from pipeline.storage.damage import reading

Form = Literal["zip", "tar"]
LOCAL, LOCAL_BYTES = b"PK\3\4", 30
DOS = 0  # zip archives that Windows made, some with `\` between folders
OTHERS = {b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a rar archive"}
NAME_BYTES = 4096  # no path of a file system is longer


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive. place: what `read` needs. size: in bytes, unpacked. problem: why it cannot be used."""

    name: str
    place: tuple[int, ...]
    size: int
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of an archive is read: members, and bytes that a compressed tar unpacks to (None: as suits its size)."""

    members: int = limits.ARCHIVE_ITEMS
    unpacked: int | None = None


def form(path: Path) -> Form:
    """What kind of archive a file is, by its first bytes.

    Raises:
        UserError: if files of its kind are not read.
    """
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    if start.startswith((LOCAL, zips.END)):
        return "zip"
    for begin, what in OTHERS.items():
        if start.startswith(begin):
            raise UserError(f"{path} is {what}; zip and tar archives are read: pack it again as one of these")
    if _tar.compression(start) or start[257:262] == b"ustar" or (len(start) == 512 and not start.strip(b"\0")):
        return "tar"
    try:
        with reading():
            tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")  # tar of before 1988
    except Damaged:
        raise UserError(f"{path} is no archive: it begins neither as a zip nor as a tar") from None
    return "tar"


def listed(path: Path, caps: Caps) -> tuple[Member, ...]:
    """All files of an archive in its order; folders are left out. Listed once a process, while the file stays as it is.

    Raises:
        UserError: if it is damaged as a whole, or holds more than `caps` allow.
    """
    return _listed(*_shared.identity(path), caps)


def read(path: Path, place: tuple[int, ...], caps: Caps, limits: Limits) -> bytes:
    """One member, without listing the others.

    Raises:
        Rejected: if it is damaged, or larger than one item may be.
    """
    first, packed, *rest = place
    size = rest[0] if rest else packed
    if size > limits.max_bytes:
        raise Rejected("too many bytes", f"{size}, allowed are {limits.max_bytes}")
    try:
        return _unzipped(path, place) if rest else unpacked.stretch(_plain(path, caps), first, packed)
    except (Damaged, zlib.error) as error:
        raise Rejected("damaged member", str(error)) from None
    except OSError as error:
        raise Rejected("cannot be read", error.strerror or "") from None


@functools.lru_cache(maxsize=4)
def _listed(path: str, _size: int, _changed: int, caps: Caps) -> tuple[Member, ...]:
    try:
        members = _of_zip(Path(path), caps) if form(Path(path)) == "zip" else _of_tar(Path(path), caps)
        return tuple(_once(members))
    except Damaged as error:
        raise UserError(f"{path} is no whole archive ({error}); fetch it again") from None


def _once(members: Iterator[Member]) -> Iterator[Member]:
    """Each with a problem where its name leads out, or came before: an archive may hold many files of one name."""
    seen: set[str] = set()
    for member in members:
        path, problem = PurePosixPath(member.name), member.problem
        if path.is_absolute() or ".." in path.parts:
            problem = ("path leaving the archive", "")
        elif len(member.name) > NAME_BYTES:
            problem = ("name too long", f"{len(member.name)} characters")
        elif path.as_posix() in seen:
            problem = ("a second member of this name", "")
        seen.add(path.as_posix())
        yield Member(member.name[:NAME_BYTES], member.place, member.size, problem)


# --- zip --------------------------------------------------------------------------------------------


def _of_zip(path: Path, caps: Caps) -> Iterator[Member]:
    infos = zips.table(path, caps.members, "ingest.source.max_members")
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise UserError(
                f"{path}: members of the archive share bytes, so that it would unpack to far more than it has"
            )
        end = info.header_offset + LOCAL_BYTES + info.compress_size
    for info in infos:
        if info.is_dir():
            continue
        name = info.filename
        if info.create_system == DOS and "/" not in name:
            name = name.replace("\\", "/")
        place = (info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type)
        yield Member(name, place, info.file_size, _problem_of_zip(info))


def _problem_of_zip(info: zipfile.ZipInfo) -> Problem | None:
    kind = info.external_attr >> 28  # the file's type, where the archive was made on Unix
    if info.flag_bits & 1:
        return "encrypted", "make the archive without a password"
    if info.compress_type not in zips.USUAL:
        return "packed in another way", f"method {info.compress_type}; stored and deflated members are read"
    if kind == 0o12:
        return "link in an archive", ""
    return None if kind in (0, 0o10) else ("not a regular file", "")


def _unzipped(path: Path, place: tuple[int, ...]) -> bytes:
    first, packed, size, crc, method = place
    head = unpacked.stretch(path, first, LOCAL_BYTES)
    if head[:4] != LOCAL:
        raise Damaged("its header is missing")
    data = first + LOCAL_BYTES + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    if method == zipfile.ZIP_STORED:
        found = unpacked.stretch(path, data, size)
    else:
        if packed > size + size // 256 + 1024:  # no packing makes data so much longer
            raise Damaged("it is longer packed than unpacked")
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        found = unpacker.decompress(unpacked.stretch(path, data, packed), size + 1)
        if len(found) != size or (not unpacker.eof and unpacker.decompress(unpacker.unconsumed_tail, 1)):
            raise Damaged("it has another size than the archive says")
    if zlib.crc32(found) != crc:
        raise Damaged("its checksum does not fit")
    return found


# --- tar --------------------------------------------------------------------------------------------


def _of_tar(path: Path, caps: Caps) -> Iterator[Member]:
    plain = _plain(path, caps)
    with reading():
        for _, member in _tar.members(
            str(plain), plain.stat().st_size, caps.members, limits.ARCHIVE_MEMBER_HEADER_BYTES
        ):
            if member.isdir():
                continue
            problem: Problem | None = None
            if member.issym() or member.islnk():
                problem = "link in an archive", f"to {printable(member.linkname[:NAME_BYTES])}"
            elif not member.isreg() or member.issparse():
                problem = "not a regular file", ""
            yield Member(member.name, (member.offset_data, member.size), member.size, problem)


def _plain(path: Path, caps: Caps) -> Path:
    """The tar itself: the archive, or what this machine keeps of it unpacked.

    Raises:
        UserError: if the archive is damaged.
    """
    with path.open("rb") as file:
        if not _tar.compression(file.read(6)):
            return path
    most = unpacked.allowed(path, caps.unpacked)

    def write(file: unpacked.Writer) -> None:
        with reading():
            _tar.unpack(str(path), most, file)

    try:
        return unpacked.kept(path, "tar", write)
    except Damaged as error:
        raise UserError(f"{path} is no whole archive ({error}); fetch it again") from None
