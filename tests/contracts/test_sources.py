"""Every file of `data/sources` keeps the contract of a source."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import plugins
from pipeline.data import carrying, packing
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Limits
from pipeline.errors import Rejected, SettingsError
from pipeline.settings import Settings

ROOM = "data.sources"


@pytest.fixture(params=plugins.names(ROOM))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> DataSource[Any]:
    name: str = request.param
    (tmp_path / "data").mkdir()
    settings = plugins.class_of(ROOM, name).example(tmp_path / "data")
    return plugins.load(ROOM, {"name": name, **settings}, "ingest.source")


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
                    elif source.modality == "video":
                        assert x.dtype == np.uint8
                        shapes.add((x.shape[3], *x.shape[:3]))
                    else:
                        assert x.dtype == source.dtype
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
        plugins.configure(
            ROOM, {"name": name, **plugins.class_of(ROOM, name).example(tmp_path), "colour": 1}, "ingest.source"
        )


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
