"""Captions that archives, parquet and webdataset files hold: the same field, rejects and counts as a folder's."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from pipeline import captions
from pipeline.data import packing
from pipeline.data.batches import Reader
from pipeline.data.preview import preflight
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError, UserError
from pipeline.formats.shards import Manifest
from pipeline.storage import tables

SAID: dict[int, list[str]] = {
    0: ["a red square", "  Crimson \n all over ", "a red square"],
    1: ["ein Quadrat, gr\u00fcn"],
    2: ["x" * 30],
    3: ["two", "", "three", "four", "five"],
    4: [],
    5: ["  "],
}


def png(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(file, "PNG")
    return file.getvalue()


PNGS = [png(40 * number) for number in SAID]


def table() -> bytes:
    file = io.StringIO()
    rows = [(f"{number}.png", said) for number, all_of in SAID.items() for said in all_of]
    csv.writer(file).writerows([("file", "caption"), *rows])
    return file.getvalue().encode()


def folder(root: Path) -> dict[str, Any]:
    (root / "pictures").mkdir()
    for number, data in enumerate(PNGS):
        (root / "pictures" / f"{number}.png").write_bytes(data)
    (root / "captions.csv").write_bytes(table())
    return {"name": "image_folder", "folder": str(root / "pictures"), "captions": str(root / "captions.csv")}


def archive_with(root: Path, named: str, data: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(root / "x.zip", "w") as file:
        for number, each in enumerate(PNGS):
            file.writestr(f"top/{number}.png", each)
        file.writestr(f"top/{named}", data)
    return {"name": "archive", "path": str(root / "x.zip"), "captions": named}


def archive(root: Path) -> dict[str, Any]:
    return archive_with(root, "captions.csv", table())


def archive_of_jsonl(root: Path) -> dict[str, Any]:
    lines = [json.dumps({"file": f"{number}.png", "caption": said}) for number, said in SAID.items()]
    return archive_with(root, "captions.jsonl", "\n".join(lines).encode())


def archive_beside(root: Path) -> dict[str, Any]:
    (root / "beside.csv").write_bytes(table())
    return {**archive_with(root, "unused.txt", b""), "captions": str(root / "beside.csv")}


def rows(root: Path) -> dict[str, Any]:
    said = [SAID[number] or None for number in SAID]
    columns = {"image": PNGS, "said": pa.array(said, pa.list_(pa.string())), "other": ["z"] * len(PNGS)}
    parquet.write_table(pa.table(columns), root / "x.parquet")
    return {"name": "parquet", "path": str(root / "x.parquet"), "captions": "said"}


def samples(root: Path) -> dict[str, Any]:
    with tarfile.open(root / "0.tar", "w") as tar:
        for number, data in enumerate(PNGS):
            held = {f"{number}.png": data}
            if SAID[number]:
                held[f"{number}.json"] = json.dumps({"said": SAID[number]}).encode()
            for name, each in held.items():
                info = tarfile.TarInfo(name)
                info.size = len(each)
                tar.addfile(info, io.BytesIO(each))
    return {"name": "webdataset", "urls": str(root / "{0..0}.tar"), "captions": "json.said"}


WAYS = [folder, archive, archive_of_jsonl, archive_beside, rows, samples]


def packed(source: dict[str, Any], out: Path, **keys: Any) -> Manifest:
    cut = {"caption_length": 20, "captions_per_image": 3}
    settings = IngestSettings(source={**source, **cut, **keys}, max_rejected_fraction=0.9, holdout_fraction=0.3)
    return packing.ingest(settings, out)


def held(out: Path) -> set[tuple[bytes, tuple[str, ...]]]:
    """Every picture with its captions, of both splits."""
    found: set[tuple[bytes, tuple[str, ...]]] = set()
    for split in ("train", "holdout"):
        reader = Reader(out, split)
        examples = reader.examples(np.arange(len(reader)))
        for x, said in zip(examples["x"], examples["text"], strict=True):
            found.add((x.tobytes(), tuple(captions.unpacked(said))))
    return found


@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: way.__name__)
def test_they_are_as_those_of_a_folder(way: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    one = packed(folder(tmp_path), tmp_path / "one")
    other = packed(way(tmp_path), tmp_path / "other")
    assert held(tmp_path / "one") == held(tmp_path / "other")
    assert one.captions == other.captions
    assert one.spec.fields == other.spec.fields
    assert one.rejects == other.rejects == {"no caption": 2}
    notes = [
        sorted(
            (row["note"], row["detail"])
            for row in tables.read(tmp_path / name / "notes.csv")
            if "caption" in row["note"]
        )
        for name in ("one", "other")
    ]
    assert notes[0] == notes[1] != []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_long_ones_may_be_rejected(way: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    manifest = packed(way(tmp_path), tmp_path / "shards", long_captions="reject")
    assert manifest.rejects == {"no caption": 2, "caption too long": 1}


@pytest.mark.parametrize("way", [archive, rows, samples], ids=lambda way: way.__name__)
def test_without_them_nothing_is_said_of_captions(way: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    source = way(tmp_path)
    del source["captions"]
    manifest = packing.ingest(IngestSettings(source=source), tmp_path / "shards")
    assert not manifest.spec.fields
    assert not any("caption" in key for key in manifest.source)
    assert not manifest.rejects


def check(source: dict[str, Any]) -> None:
    preflight(IngestSettings(source=source))


def test_columns_and_members_that_are_not_there_are_named(tmp_path: Path) -> None:
    for way, wrong, says in (
        (rows, "image", "captions: there is no column 'image' of text"),
        (samples, "txt", "captions: no sample has a member 'txt'"),
        (samples, "cls", "captions"),
        (archive, "gone.csv", "captions: 'gone.csv' is neither a file"),
    ):
        with pytest.raises(SettingsError, match=says):
            check({**way(tmp_path), "captions": wrong})


def test_captions_that_cannot_be_read_are_rejected_or_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        texts = (b"good", b"\xff\xfe", "\u00e9".encode())
        for number, (data, text) in enumerate(zip(PNGS, texts, strict=False)):
            for name, each in ((f"{number}.png", data), (f"{number}.txt", text)):
                info = tarfile.TarInfo(name)
                info.size = len(each)
                tar.addfile(info, io.BytesIO(each))
    source = {"name": "webdataset", "urls": str(tmp_path / "{0..0}.tar"), "captions": "txt"}
    assert packed(source, tmp_path / "shards").rejects == {"unreadable caption": 1}
    with pytest.raises(UserError, match="max_captions_bytes"):
        packed(rows(tmp_path), tmp_path / "rows", max_captions_bytes=10)
    with pytest.raises(SettingsError, match=r"captions of x|captions\.csv of "):
        check(archive_with(tmp_path, "captions.csv", b"\xff\xfe\x00"))
