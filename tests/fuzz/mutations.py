"""Changes of bytes, and of what is in them: each a function of the seed's bytes and a generator of chance."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Mutate = Callable[[bytes, random.Random], bytes]

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        2**31,
        2**63,
        10**30,
        1.5,
        -0.0,
        1e308,
        "",
        " ",
        "x",
        "../x",
        "/etc/passwd",
        "a\0b",
        "\x1b[2J",
    ),
    *(
        "0" * 64,
        "é" * 50,
        "=1+1",
        "n" * 5000,
        [],
        {},
        [[]],
        [None],
        {"": None},
        ["x"],
        [-1, 10**12],
        [1, 2, 3, 4, 5],
        "\ud800",
    ),
)


def bytes_changed(data: bytes, chance: random.Random) -> bytes:
    """One to eight changes of single bytes, lengths, or stretches."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice((_flip, _set, _number, _cut, _repeat, _insert, _remove, _swap))(found, chance)
    return bytes(found)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))


def _number(data: bytearray, chance: random.Random) -> None:
    """A length of 2, 4 or 8 bytes; most of them stand near the beginning."""
    form = chance.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    if len(data) >= size:
        most = len(data) - size + 1
        place = chance.randrange(min(64, most)) if chance.random() < 0.6 else chance.randrange(most)
        value = chance.choice((*NUMBERS, len(data), len(data) + 1, chance.getrandbits(64))) % 2 ** (8 * size)
        struct.pack_into(form, data, place, value)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _stretch(data: bytearray, chance: random.Random) -> tuple[int, int]:
    begin = chance.randrange(len(data) + 1)
    return begin, min(len(data), begin + chance.choice((1, 4, 16, 64, 512, 4096)))


def _repeat(data: bytearray, chance: random.Random) -> None:
    begin, end = _stretch(data, chance)
    data[begin:begin] = bytes(data[begin:end]) * chance.choice((1, 2, 50))


def _insert(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.choice((b"\0", b"\xff", b"\n", chance.randbytes(4))) * chance.choice((1, 2, 100))


def _remove(data: bytearray, chance: random.Random) -> None:
    begin, end = _stretch(data, chance)
    del data[begin:end]


def _swap(data: bytearray, chance: random.Random) -> None:
    begin, end = _stretch(data, chance)
    other = chance.randrange(len(data) + 1)
    piece = bytes(data[begin:end])
    data[other : other + len(piece)] = piece


def spliced(seeds: Sequence[bytes]) -> Mutate:
    """The beginning of one, the end of another."""

    def mutate(data: bytes, chance: random.Random) -> bytes:
        other = chance.choice(seeds)
        return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]

    return mutate


# --- what knows the form ------------------------------------------------------------------------


def png(data: bytes, chance: random.Random) -> bytes:
    """A chunk's content, with a checksum that is right again; chunks repeated, dropped, swapped."""
    if not data.startswith(b"\x89PNG"):
        return bytes_changed(data, chance)
    chunks: list[tuple[bytes, bytes]] = []
    place = 8
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        chunks.append((name, data[place + 8 : place + 8 + length]))
        place += 12 + length
    number = chance.randrange(len(chunks))
    name, content = chunks[number]
    what = chance.randrange(6)
    if what == 0 and name == b"IDAT":
        with_zlib = zlib.compress(bytes_changed(_inflated(content), chance))
        chunks[number] = (name, with_zlib)
    elif what == 1:
        chunks.insert(number, chunks[chance.randrange(len(chunks))])
    elif what == 2:
        del chunks[number]
    elif what == 3:
        kind = chance.choice((b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"tRNS", b"PLTE", b"gAMA"))
        chunks.insert(number, (kind, bytes_changed(b"key\0\0" + zlib.compress(b"x" * 10_000), chance)))
    else:
        chunks[number] = (name, bytes_changed(content, chance))
    body = b"".join(
        struct.pack(">I", len(each)) + kind + each + struct.pack(">I", zlib.crc32(kind + each)) for kind, each in chunks
    )
    return data[:8] + body


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompress(content)
    except zlib.error:
        return content


def zipped(data: bytes, chance: random.Random) -> bytes:
    """What a gzip file holds, packed again."""
    try:
        return gzip.compress(bytes_changed(gzip.decompress(data), chance), 1)
    except (OSError, EOFError, zlib.error):
        return bytes_changed(data, chance)


def tar(data: bytes, chance: random.Random) -> bytes:
    """Fields of a header, with a checksum that is right again; members of odd kinds put before."""
    packed = data.startswith(b"\x1f\x8b")
    try:
        found = bytearray(gzip.decompress(data) if packed else data)
    except (OSError, EOFError, zlib.error):
        return bytes_changed(data, chance)
    if len(found) < 1024 or found[257:262] != b"ustar":
        return bytes_changed(data, chance)
    if chance.random() < 0.4:
        kind = chance.choice((b"x", b"g", b"L", b"K", b"S", b"1", b"2", b"3", b"5", b"6", b"7", b"D", b"V"))
        content = chance.choice(
            (
                b"12 path=x/y\n",
                b"20 size=99999999999\n",
                b"9" * 20 + b" a=b\n",
                b"-1 a=b\n",
                b"8 a=b\n" * 40,
                b"n" * 600,
                b"",
            )
        )
        extra = tarfile.TarInfo("./PaxHeaders/x")
        extra.size, extra.type = chance.choice((len(content), 10**9, 0, len(content) + 1)), kind
        body = content.ljust(-(-len(content) // 512) * 512, b"\0")
        found[0:0] = (extra.tobuf(tarfile.USTAR_FORMAT) + body) * chance.choice((1, 1, 2, 300))
    place = chance.choice(
        [each for each in range(0, len(found) - 511, 512) if found[each + 257 : each + 262] == b"ustar"]
    )
    begin, end = chance.choice(((0, 100), (100, 108), (124, 136), (156, 157), (157, 257), (345, 500)))
    field = bytes_changed(bytes(found[place + begin : place + end]), chance)[: end - begin].ljust(end - begin, b"\0")
    if (begin, end) == (124, 136) and chance.random() < 0.5:
        field = chance.choice((b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-0000000001\0", b" " * 12))
    found[place + begin : place + end] = field
    found[place + 148 : place + 156] = b" " * 8
    found[place + 148 : place + 156] = b"%06o\0 " % (sum(found[place : place + 512]) % 8**6)
    return gzip.compress(bytes(found), 1) if packed else bytes(found)


def npy(data: bytes, chance: random.Random) -> bytes:
    """The header's words."""
    if not data.startswith(b"\x93NUMPY") or len(data) < 12:
        return bytes_changed(data, chance)
    (length,) = struct.unpack_from("<H", data, 8)
    header, rest = data[10 : 10 + length], data[10 + length :]
    descr = chance.choice(
        ("<f4", "<f8", "|O", "<U1000000", "<i8", "S0", "V0", "<c16", "M8[s]", "[('a','<f4')]", "x", "(" * 300)
    )
    shape = chance.choice(
        ("(3,)", "()", "(10**9,)", "(1000000000000,)", "(-1,)", "(0, 99999999999)", "(" * 90 + ")" * 90, "(1.5,)")
    )
    order = chance.choice(("True", "False", "1", "[]"))
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    changed = chance.choice((text.encode(), bytes_changed(header, chance), re.sub(rb"\(.*\)", shape.encode(), header)))
    changed = changed[:65000].ljust(-(-(len(changed[:65000]) + 11) // 64) * 64 - 11) + b"\n"
    return data[:6] + chance.choice((b"\1\0", b"\1\0", b"\3\0")) + struct.pack("<H", len(changed)) + changed + rest


def archive(inner: Mutate) -> Mutate:
    """A member of a zip archive, changed by `inner` and packed again, in one way or another."""

    def mutate(data: bytes, chance: random.Random) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as found:
                members = {info.filename: found.read(info) for info in found.infolist()}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError):
            return bytes_changed(data, chance)
        if not members:
            return bytes_changed(data, chance)
        name = chance.choice(list(members))
        members[name] = inner(members[name], chance)
        if chance.random() < 0.2:
            members[chance.choice(("../x.npy", "/x.npy", "mu.npy", ".npy", "x"))] = members.pop(name)
        file = io.BytesIO()
        with zipfile.ZipFile(
            file, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        ) as made:
            for each, content in members.items():
                made.writestr(each, content)
        return bytes_changed(file.getvalue(), chance) if chance.random() < 0.2 else file.getvalue()

    return mutate


def tensors(data: bytes, chance: random.Random) -> bytes:
    """The JSON that begins a safetensors file."""
    if len(data) < 8:
        return bytes_changed(data, chance)
    (length,) = struct.unpack_from("<Q", data)
    header, rest = data[8 : 8 + length], data[8 + length :]
    header = json_changed(header, chance)
    return struct.pack("<Q", len(header)) + header + rest


def json_changed(data: bytes, chance: random.Random) -> bytes:
    """A value of a JSON document, or a name in it, replaced by an odd one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return bytes_changed(data, chance)
    if chance.random() < 0.1:
        return chance.choice(
            (b"[" * 100_000, b"9" * 5000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"NaN", b"\xff", b"", b"{}", b"[]")
        )
    value = _changed(value, chance)
    return json.dumps(value).encode()


def lines_changed(data: bytes, chance: random.Random) -> bytes:
    """One line of many JSON documents."""
    lines = data.splitlines() or [b""]
    number = chance.randrange(len(lines))
    lines[number] = json_changed(lines[number], chance)
    return b"\n".join(lines) + b"\n"


def _changed(value: Any, chance: random.Random) -> Any:
    """A copy with one place in it changed."""
    children = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not children or chance.random() < 0.15:
        return chance.choice(ODD)
    place = chance.choice(children)
    copy = dict(value) if isinstance(value, dict) else list(value)
    what = chance.random()
    if what < 0.1:
        del copy[place]
    elif what < 0.2 and isinstance(copy, dict):
        copy[str(chance.choice(ODD))[:100]] = copy.pop(place)
    elif what < 0.3 and isinstance(copy, list):
        copy *= chance.choice((2, 1000))
    else:
        copy[place] = _changed(copy[place], chance)
    return copy


SNIPPETS = (
    *(
        "&a [1]",
        "*a",
        "!!python/object:os.system x",
        "!!binary aGk=",
        "!!int x",
        "!!timestamp x",
        "2024-13-45",
        "1:30:00",
        "0o17",
    ),
    *(
        ".inf",
        ".nan",
        "-.INF",
        "9" * 5000,
        "1e999",
        "\0",
        "\x07",
        "[" * 200,
        "{a: " * 100,
        "? [a]\n: b",
        "<<: {a: 1}",
        "---",
        "...",
        "|",
        ">",
    ),
    *(
        "'",
        '"',
        "\t",
        "%YAML 9.9",
        "0x",
        "0b_",
        "1_",
        "~",
        "yes",
        "2001-01-01",
        "{1: 2}",
        "{true: 1}",
        "- - - -",
        "\ufeff",
        "@",
        "`",
    ),
)


def yaml_changed(data: bytes, chance: random.Random) -> bytes:
    """A value, a name or a line of YAML replaced by an odd one."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(chance.choice((1, 1, 2))):
        number = chance.randrange(len(lines))
        name, colon, _ = lines[number].partition(":")
        snippet = chance.choice(SNIPPETS)
        what = chance.randrange(4)
        if what == 0 and colon:
            lines[number] = f"{name}: {snippet}"
        elif what == 1 and colon:
            lines[number] = f"{snippet}{lines[number][len(name) :]}"
        elif what == 2:
            lines.insert(number, chance.choice(lines))
        else:
            lines.insert(number, " " * chance.randrange(6) + snippet)
    return "\n".join(lines).encode()
