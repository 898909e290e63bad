"""Odd files that once ended in a traceback: each is refused in a sentence, or read."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from pathlib import Path

import bombs
import limited
import pytest
import readers
from readers import READERS

CARD = json.loads(readers._written(readers._save_model, "model.json"))
MANIFEST = json.loads(readers._written(readers._save_shards, "manifest.json"))
DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def zipped(name: str, data: bytes) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return bombs.packed_as(Path(folder) / "x", name, data, zlib.crc32(data), len(data)).read_bytes()


REFUSED: list[tuple[str, bytes]] = [
    ("npy", bombs.npy("<f4", "(1000000000000,)")),
    ("npy", bombs.npy("|O", "(1,)") + pickle.dumps([print])),
    ("npy", bombs.npy("<f4", "(-1,)", bytes(64))),
    ("npy", bombs.npy("<f4", "(" * 200 + ")" * 200)),
    ("npy", b"\x93NUMPY\1\0\x40\0{'descr': '''".ljust(80) + b"\n"),
    ("npy", b"\x93NUMPY\1\0\x40\0{'descr': 'x', \\".ljust(74) + b"\n"),
    ("npy", b"\x93NUMPY\3\0" + struct.pack("<I", 2**31) + b"{}"),
    ("npy", b"PK\5\6" + bytes(18)),
    ("npy", b""),
    ("npz", zipped("mu.npy", bombs.npy("|O", "(1,)") + pickle.dumps([print]))),
    ("npz", zipped("../mu.npy", bombs.npy("<f4", "(1,)", bytes(4)))),
    ("npz", zipped("mu.npy", bombs.npy("<f8", "(1000000000000,)"))),
    ("npz", bombs.npy("<f4", "(1,)", bytes(4))),
    ("npz", b"PK\3\4"),
    ("weights", safetensors(b'{"__metadata__":{"zerosum":' + json.dumps(DEEP.decode()).encode() + b"}}")),
    ("safetensors", safetensors(b'{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}') + bytes(4)),
    ("safetensors", safetensors(b'{"x":{"dtype":"F32","shape":[' + b"1," * 9 + b'1],"data_offsets":[0,99]}}')),
    ("safetensors", struct.pack("<Q", 2**63)),
    ("safetensors", safetensors(DEEP)),
    ("safetensors", pickle.dumps([print])),
    ("pth", pickle.dumps([print])),
    ("pth", b"\x80\2" + b"(" * 100_000 + b"."),
    ("pth", b"\x80\2cbuiltins\nbytearray\n\x8a\5" + (10**10).to_bytes(5, "little") + b"\x85R."),
    ("best", b"format_version: 1\na: 2024-13-45\n"),
    ("best", b"a: " + b"9" * 5000),
    ("best", b"a: " + b"[" * 5000),
    ("best", b"? [a]\n: b\n"),
    ("best", b"a: \0\n"),
    ("best", b"a: !!timestamp x\n"),
    ("best", b"a: !!bool x\n"),
    ("best", b"a: !!int x\n"),
    ("best", b"a: 0b_\n"),
    ("best", b"a: 1\na: 2\n"),
    ("best", b"\xff\xfe\xfd"),
    ("params", b"train: 2024-01-01\n"),
    ("params", b"train: {examples: 1:30:00}\n"),
    ("params", b"train: {examples: .inf, seed: .nan}\n"),
    ("params", b"1: 2\ntrue: x\nnull: y\n"),
    ("params", b"ingest: {1: 2, source: {3: 4}}\n"),
    ("params", b"ingest: !!binary aGk=\n"),
    ("params", b'ingest: {source: {name: "a\\0b"}}\n'),
    ("params", b'ingest: {source: {name: idx, images: "a\\0b"}}\n'),
    ("params", b"run: {seed: " + b"9" * 4000 + b"}\n"),
    ("params", b"run: {seed: 0x" + b"f" * 4290 + b"}\n"),
    ("best", (b"? 0x" + b"f" * 4290 + b"\n: 1\n") * 2),
    ("json", DEEP),
    ("json", b"9" * 5000),
    ("json", b"NaN"),
    ("json", b'"\\udfff"'),
    ("card", json.dumps([CARD]).encode()),
    ("card", json.dumps({**CARD, "config": json.loads(DEEP[: 5 * 300] + b"1" + b"}" * 300)}).encode()),
    ("card", json.dumps({**CARD, "networks": ["../x"]}).encode()),
    ("card", json.dumps({**CARD, "files": {"a\0b.safetensors": "0" * 64}}).encode()),
    ("manifest", json.dumps({**MANIFEST, "spec": {**MANIFEST["spec"], "shape": [3, 10**6, 10**6]}}).encode()),
    ("manifest", json.dumps({**MANIFEST, "spec": {**MANIFEST["spec"], "shape": [3, "a", -5]}}).encode()),
    ("member", bombs.png(9, 7)),
    ("member", bombs.png(2**31 - 1, 2**31 - 1)),
    ("image", bombs.png(2**31 - 1, 1)),
    ("csv", b"file,label\n" + b"x" * 200_000 + b",1\n"),
    ("csv", b"file,label\n" + b'"a\n'),
    ("csv", b"\0\0"),
    ("wav", b"RIFF\4\0\0\0WAVE" + b"JUNK\0\0\0\0" * 5000 + readers.wav(1, 16)[12:]),
    ("wav", readers.wav(3, 32).replace(b"data", b"data\xff\xff\xff\xff", 1)),
    ("csv", b"file,label" + b",x" * 400_000 + b"\n" + b"a,b\n" * 2000 + b"a,c\n"),
    ("csv", b"file,label\na.png," + b"a://" * 30_000 + b"\na.png,b\n"),
    ("csv", b"name,label" + b",x" * 400_000 + b"\na,b\n"),
    ("idx", b"\0\0\x08\3" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)),
    ("idx", b"\x1f\x8b\x08\0"),
]


@pytest.mark.parametrize(
    ("name", "data"), REFUSED, ids=[f"{name}-{number}" for number, (name, _) in enumerate(REFUSED)]
)
def test_they_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    found = limited.call(lambda: READERS[name].read(data, tmp_path))
    assert found.how == "refused", found
    assert found.what.strip()


@pytest.mark.parametrize(
    ("text", "value"),
    [("2024-01-01", "2024-01-01"), ("1:30", "1:30"), ("1:30.5", "1:30.5"), ("0o17", 15), ("-5", -5), ("0x1F", 31)],
)
def test_dates_and_times_are_text(tmp_path: Path, text: str, value: object) -> None:
    (tmp_path / "params.yaml").write_text(f"a: {{b: {text}}}\n")
    assert readers.params.read(tmp_path / "params.yaml") == {"a": {"b": value}}


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: &x [*x]\n", 2), ("a: 1\n\nb: *x\n", 3), ("a: !!set {x}\n", 1), ("a: 1\nb:\n  <<: {c: 1}\n", 3)],
)
def test_what_yaml_is_not_read_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(readers.UserError, match=rf"params\.yaml .*line {line},"):
        readers.params.read(tmp_path / "params.yaml")
