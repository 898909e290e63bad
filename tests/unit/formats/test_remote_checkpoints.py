"""Checkpoints that come back on another machine, and only those that count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipeline.formats.checkpoint import Checkpoint, load
from pipeline.formats.remote_checkpoints import MirroredStore
from pipeline.storage.store import Store


def content(seen: int, value: float) -> Checkpoint:
    return Checkpoint({"networks": {"w": torch.full((3,), value)}}, {"examples_seen": seen, "began": seen - 8}, [])


def notes(message: str) -> None:
    pytest.fail(message)


def machine(tmp_path: Path, name: str, keep: int = 2) -> MirroredStore:
    return MirroredStore(tmp_path / name, keep, Store(str(tmp_path / "store")))


def value_of(path: Path) -> float:
    return float(load(path).tensors["networks"]["w"][0])


def test_another_machine_goes_on(tmp_path: Path) -> None:
    first = machine(tmp_path, "first")
    (tmp_path / "first/grids").mkdir(parents=True)
    (tmp_path / "first/grids/1.png").write_bytes(b"grid")
    for seen in (64, 128, 192):
        first.save(content(seen, seen / 8))
    second = machine(tmp_path, "second")
    found = second.latest(notes)
    assert found is not None
    assert (found.name, value_of(found)) == ("000000000192", 24.0)
    assert [path.name for path in second.numbered()] == ["000000000128", "000000000192"]
    assert (tmp_path / "second/grids/1.png").read_bytes() == b"grid"
    assert sorted(path.name for path in found.iterdir()) == [
        "history.jsonl",
        "manifest.json",
        *("networks.safetensors", "state.json"),
    ]


def test_what_is_dropped_here_is_dropped_there(tmp_path: Path) -> None:
    store = machine(tmp_path, "first", keep=1)
    for seen in (64, 128):
        store.save(content(seen, 1.0))
    there = Store(str(tmp_path / "store"))
    assert there.names("") == ["000000000128.json"]
    assert len(there.names("bundles")) == 1
    # Equal weights are one blob, which the newest still needs.
    assert len(there.names("blobs")) == 4
    found = machine(tmp_path, "second").latest(notes)
    assert found is not None
    assert value_of(found) == 1.0


def test_the_newest_best_wins_over_an_old_one_on_the_machine(tmp_path: Path) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    first.save(content(64, 1.0), "best")
    second.save(content(128, 2.0), "best")
    first.ready(first.folder / "best")
    assert value_of(first.folder / "best") == 2.0


def test_a_checkpoint_that_was_not_sent_is_used_where_it_is(tmp_path: Path) -> None:
    first = machine(tmp_path, "first")
    first.save(content(64, 1.0))
    Store(str(tmp_path / "store")).remove("000000000064.json")
    found = first.latest(notes)
    assert found is not None
    assert value_of(found) == 1.0
    assert machine(tmp_path, "second").latest(notes) is None


def test_clear(tmp_path: Path) -> None:
    first = machine(tmp_path, "first")
    first.save(content(64, 1.0))
    first.clear()
    there = Store(str(tmp_path / "store"))
    assert (there.names(""), there.names("bundles"), there.names("blobs")) == ([], [], [])
    assert first.latest(notes) is None


def tear(file: Path, how: str) -> None:
    data = file.read_bytes()
    file.write_bytes({"cut": data[: len(data) // 2], "number": b"57\r\n", "other": data[:-1] + b"?"}[how])


@pytest.mark.parametrize("how", ["cut", "number", "other"])
@pytest.mark.parametrize("what", ["document", "bundle", "blob"])
def test_a_checkpoint_torn_in_the_store_is_passed_over(what: str, how: str, tmp_path: Path) -> None:
    """And made again: what is broken there would otherwise pass for sent."""
    first = machine(tmp_path, "first")
    for seen in (64, 128):
        first.save(content(seen, seen / 8))
    there = tmp_path / "store"
    newest = Store(str(there)).read("000000000128.json")["bundle"]
    index = json.loads((there / f"bundles/{newest}.json").read_text())["files"]
    blob = index["checkpoints/000000000128/networks.safetensors"]["sha256"]
    tear(
        there / {"document": "000000000128.json", "bundle": f"bundles/{newest}.json", "blob": f"blobs/{blob}"}[what],
        how,
    )
    said: list[str] = []
    second = machine(tmp_path, "second")
    found = second.latest(said.append)
    assert found is not None
    assert value_of(found) == 8.0
    assert [note.split(" (")[0] for note in said] == ["checkpoint 000000000128 of the store is broken"]
    second.save(content(128, 16.0))
    third = machine(tmp_path, "third").latest(notes)
    assert third is not None
    assert (third.name, value_of(third)) == ("000000000128", 16.0)


@pytest.mark.parametrize("how", ["cut", "number"])
def test_a_torn_best_is_not_usable_and_can_be_cleared(how: str, tmp_path: Path) -> None:
    machine(tmp_path, "first").save(content(64, 1.0), "best")
    tear(tmp_path / "store/best.json", how)
    second = machine(tmp_path, "second")
    assert not second.usable("best", 1000)
    second.clear()
    assert Store(str(tmp_path / "store")).names("") == []
    assert second.usable("best", 1000)
