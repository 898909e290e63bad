"""Every file of `data/sources` keeps the contract of a source."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import struct
import tarfile
import wave
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from pipeline import plugins
from pipeline.data import carrying, packing, parcels
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Limits
from pipeline.errors import Rejected, SettingsError
from pipeline.settings import Settings
from pipeline.storage.store import Store

ROOM = "data.sources"


def make_digits(folder: Path) -> dict[str, Any]:
    return {}


def make_image_folder(folder: Path) -> dict[str, Any]:
    for label in ("a", "b"):
        (folder / label).mkdir()
        Image.new("RGB", (4, 5), label and (1, 2, 3)).save(folder / label / "x.png")
    (folder / "a" / "broken.png").touch()
    return {"folder": str(folder)}


def make_idx(folder: Path) -> dict[str, Any]:
    (folder / "images.gz").write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 5) + bytes(range(40))))
    (folder / "labels").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 2) + b"\1\0")
    return {"images": str(folder / "images.gz"), "labels": str(folder / "labels")}


def make_cifar10(folder: Path) -> dict[str, Any]:
    (folder / "data_batch_1.bin").write_bytes((b"\3" + bytes(3072)) * 2 + b"\xff" + bytes(3072))
    return {"path": str(folder)}


def make_paired_folder(folder: Path) -> dict[str, Any]:
    for side in ("input", "target"):
        (folder / side).mkdir()
        Image.new("RGB", (4, 5), (1, 2, 3)).save(folder / side / "x.png")
    (folder / "input" / "lonely.png").touch()
    return {"folder": str(folder)}


def make_two_folders(folder: Path) -> dict[str, Any]:
    for side in ("A", "B"):
        (folder / side).mkdir()
        Image.new("RGB", (4, 5), (1, 2, 3)).save(folder / side / "x.png")
    return {"folder": str(folder)}


def make_wav_folder(folder: Path) -> dict[str, Any]:
    for label in ("no", "yes"):
        (folder / label).mkdir()
        with wave.open(str(folder / label / "a.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(bytes(40))
    (folder / "no" / "broken.wav").write_bytes(b"RIFF")
    return {"folder": str(folder), "length": 16}


def make_archive(folder: Path) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (4, 5), (1, 2, 3)).save(file, "PNG")
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name, data in {"a/x.png": file.getvalue(), "b/x.png": file.getvalue(), "b/broken.png": b""}.items():
            archive.writestr(name, data)
    return {"path": str(folder / "x.zip")}


def make_parquet(folder: Path) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (4, 5), (1, 2, 3)).save(file, "PNG")
    table = pa.table({"image": [file.getvalue(), b"", None, file.getvalue()], "label": ["b", "b", "a", "a"]})
    parquet.write_table(table, folder / "x.parquet")
    return {"path": str(folder / "x.parquet")}


def make_webdataset(folder: Path) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (4, 5), (1, 2, 3)).save(file, "PNG")
    with tarfile.open(folder / "0.tar", "w") as tar:
        for name, data in {"0.png": b"", "0.cls": b"0", "1.png": file.getvalue(), "1.cls": b"1"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return {"urls": str(folder / "{0..0}.tar")}


def make_csv(folder: Path) -> dict[str, Any]:
    (folder / "x.csv").write_text("a,b,label\n0.5,x,u\n1.5,,v\n2.5,y,v\n3.5,x,u\n")
    return {"path": str(folder / "x.csv"), "label": "label"}


def make_synthetic(folder: Path) -> dict[str, Any]:
    return {"shape": [6], "examples": 3}


MAKERS = {
    "archive": make_archive,
    "csv": make_csv,
    "digits": make_digits,
    "image_folder": make_image_folder,
    "idx": make_idx,
    "cifar10": make_cifar10,
    "paired_folder": make_paired_folder,
    "two_folders": make_two_folders,
    "webdataset": make_webdataset,
    "wav_folder": make_wav_folder,
    "parquet": make_parquet,
    "synthetic": make_synthetic,
}


@pytest.fixture(params=plugins.names(ROOM))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> DataSource[Any]:
    name: str = request.param
    assert name in MAKERS, f"say here how to make a small data set for the source '{name}'"
    (tmp_path / "data").mkdir()
    return plugins.load(ROOM, {"name": name, **MAKERS[name](tmp_path / "data")}, "ingest.source")


def test_it_is_a_source_with_a_config(source: DataSource[Any]) -> None:
    assert isinstance(source, DataSource)
    assert isinstance(source.config, Settings)
    source.check("ingest.source")


def test_entries_come_in_one_order_with_known_labels(source: DataSource[Any]) -> None:
    entries = list(source.entries())
    assert entries
    assert entries == list(source.entries())
    assert len({entry.key for entry in entries}) == len(entries)
    classes = source.classes()
    assert len(set(classes)) == len(classes)
    assert all(entry.label in (classes or {None}) for entry in entries if entry.problem is None)
    assert source.expected_classes() == classes


def test_every_good_entry_is_an_example_and_every_other_a_reject(source: DataSource[Any]) -> None:
    shapes: set[tuple[int, ...]] = set()
    for entry in source.entries():
        if entry.problem is None:
            with contextlib.suppress(Rejected):
                found = {
                    "x": source.read(entry, Limits()),
                    **source.decode_fields(source.fetch(entry, Limits()), Limits()),
                }
                assert found.keys() - {"x"} == {each.name for each in source.fields if each.source == "same_item"}
                for x in found.values():
                    if source.modality == "image":
                        assert x.dtype == np.uint8
                        shapes.add((x.shape[2], x.shape[0], x.shape[1]))
                    else:
                        assert x.dtype == np.float32
                        shapes.add(x.shape)
    assert len(shapes) == 1
    assert source.native_shape() in (None, *shapes)


def test_it_travels_to_other_processes(source: DataSource[Any]) -> None:
    entries = list(source.entries())  # opened before it is sent
    there: DataSource[Any] = pickle.loads(pickle.dumps(source))
    assert there.config == source.config
    assert list(there.entries()) == entries
    assert np.array_equal(there.read(entries[-1], Limits()), source.read(entries[-1], Limits())) or entries[-1].problem
    assert len(pickle.dumps(source)) < 1000


def test_it_describes_itself_without_the_place(source: DataSource[Any], tmp_path: Path) -> None:
    described = source.describe()
    assert described["name"] in plugins.names(ROOM)
    assert str(tmp_path) not in str(described)


@pytest.mark.parametrize("name", plugins.names(ROOM))
def test_unknown_keys_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ingest\.source\.colour: unknown key"):
        plugins.configure(ROOM, {"name": name, **MAKERS[name](tmp_path), "colour": 1}, "ingest.source")


@pytest.mark.slow
def test_it_is_packed_where_only_what_was_sent_of_it_is(source: DataSource[Any], tmp_path: Path) -> None:
    """By way of a store, items that cannot be used too; shards, rejects and manifest have the same bytes."""
    settings = IngestSettings(max_rejected_fraction=1, shard_examples=1, holdout_fraction=0, empty_classes="drop")
    store = Store(str(tmp_path / "store"))
    packing.pack(source, settings, tmp_path / "here")
    told: list[tuple[int, int]] = []
    listing = parcels.send(source, settings, store, lambda *numbers: told.append(numbers))
    shape, classes, entries = source.native_shape(), source.expected_classes(), list(source.entries())
    (tmp_path / "data").rename(tmp_path / "away")
    parcels.receive(store, listing, tmp_path / "arrived")
    there = parcels.Parcelled(source, str(tmp_path / "arrived"))
    there.check()
    assert (there.native_shape(), there.expected_classes(), there.entries()) == (shape, classes, entries)
    assert len(pickle.dumps(there)) < 1000
    packing.pack(pickle.loads(pickle.dumps(there)), settings, tmp_path / "afar")
    here, afar = ({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("here", "afar"))
    assert any(name.endswith(".tar") for name in here)
    assert afar == here
    assert told == [(len(entries), len(entries))]


@pytest.mark.slow
def test_it_is_packed_where_neither_its_files_nor_the_shards_are(source: DataSource[Any], tmp_path: Path) -> None:
    """`fetch` gives all that `decode` needs, also of items that cannot be used; the bytes are the same."""
    settings = IngestSettings(max_rejected_fraction=1, shard_examples=1, holdout_fraction=0, empty_classes="drop")
    data, away = tmp_path / "data", tmp_path / "away"
    outs = tmp_path / "here", tmp_path / "afar"

    def afar(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        for task in tasks:
            sent = pickle.dumps(carrying.loaded(task))
            for folder in (data, outs[1]):
                folder.rename(away / folder.name)
            answer = pickle.dumps(carrying.AnsweredAfar(function)(pickle.loads(sent)))
            for folder in (data, outs[1]):
                (away / folder.name).rename(folder)
            yield carrying.delivered(task, pickle.loads(answer))

    away.mkdir()
    for out, mapping in zip(outs, (None, afar), strict=True):
        packing.pack(source, settings, out, map_shards=mapping)
    here, there = ({path.name: path.read_bytes() for path in out.iterdir()} for out in outs)
    assert any(name.endswith(".tar") for name in here)
    assert there == here
