"""What ingest notes of items that it uses, wherever they are read."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data import carrying, images, notes, packing
from pipeline.data.settings import IngestSettings
from pipeline.formats.shards import Manifest

Folder = Callable[..., Path]
Pack = Callable[..., tuple[Path, Manifest]]
Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]


def source_of(folder: Path, **keys: Any) -> dict[str, Any]:
    return {"name": "image_folder", "folder": str(folder), **keys}


def rows(out: Path) -> list[list[str]]:
    with (out / "notes.csv").open(newline="") as file:
        return list(csv.reader(file))


# --- leaving and collecting -----------------------------------------------------------------------


def test_notes_are_kept_only_where_they_are_collected() -> None:
    notes.leave("lost")
    with notes.collected() as outer:
        notes.leave("first", "a", 1)
        with notes.collected() as inner:
            notes.leave("second")
        notes.leave("third", value=3, amount=7)
    notes.leave("lost")
    assert outer == [notes.Note("first", "a", 1), notes.Note("third", "", 3, 7)]
    assert inner == [notes.Note("second")]


def test_one_item_has_one_note_of_a_kind() -> None:
    found = [notes.Note("a", "x", 1), notes.Note("b", "y", 5), notes.Note("a", "z", 2)]
    assert notes.worst(found) == [notes.Note("a", "z", 2), notes.Note("b", "y", 5)]


def test_counts_name_the_worst_and_are_plain_json() -> None:
    found = [("i", notes.Note("a", "x", 1.23456789, 3)), ("j", notes.Note("a", "y", 9, 4)), ("k", notes.Note("b"))]
    counted = notes.counted(found, 10)
    assert counted == {
        "a": {"items": 2, "of": 10, "worst": 9.0, "item": "j", "detail": "y", "amount": 7},
        "b": {"items": 1, "of": 10, "worst": 0.0, "item": "k", "detail": ""},
    }
    assert json.loads(json.dumps(counted)) == counted
    assert notes.counted(found[:1], 1)["a"]["worst"] == 1.23457


def test_every_kind_has_a_sentence_that_names_its_numbers() -> None:
    for kind in (*notes.SAID, "of_a_source_of_mine {x}"):
        for items in (1, 1200):
            values = {"items": items, "of": 3000, "worst": 8.0, "item": "cats/7.png", "detail": "why", "amount": 34}
            (said,) = notes.sentences({kind: values}, "shards")
            assert said.startswith(f"{items:,} of 3,000 items ")
            assert "cats/7.png: why; see shards/notes.csv" in said
            assert "(34 samples)" in said
            assert "{" not in said or "{x}" in said
    for kind in (notes.DROPPED, notes.RARE, notes.NO_HOLDOUT):
        (said,) = notes.sentences({kind: {"items": 7, "of": 9, "names": list("abcde")}}, "shards")
        assert said.startswith("7 of 9 classes have ")
        assert said.endswith("a, b, c, d, e and 2 more")
        (said,) = notes.sentences({kind: {"items": 1, "of": 9, "names": ["a"]}}, "shards")
        assert said.startswith("1 of 9 classes has ")


# --- what is noted of images ----------------------------------------------------------------------


def noted(noise: Noise, shape: tuple[int, int], **settings: Any) -> dict[str, float]:
    with notes.collected() as left:
        images.fit(noise(1, *shape), IngestSettings.model_validate(settings))
    return {note.kind: round(note.value, 4) for note in left}


@pytest.mark.parametrize(
    ("shape", "resize", "expected"),
    [
        ((8, 8), "stretch", {"enlarged": 8.0}),
        ((8, 8), "center_crop", {"enlarged": 8.0}),
        ((8, 8), "pad", {"enlarged": 8.0}),
        ((60, 60), "center_crop", {"enlarged": 1.0667}),
        ((64, 64), "stretch", {}),
        ((300, 300), "stretch", {}),
        ((64, 200), "center_crop", {}),
        ((32, 200), "center_crop", {"enlarged": 2.0}),
        ((32, 200), "pad", {}),
        ((32, 200), "stretch", {"enlarged": 2.0, "stretched": 6.25}),
        ((100, 140), "stretch", {}),
        ((100, 160), "stretch", {"stretched": 1.6}),
        ((160, 100), "stretch", {"stretched": 1.6}),
        ((100, 160), "center_crop", {}),
    ],
)
def test_enlarging_and_stretching_are_noted(
    noise: Noise, shape: tuple[int, int], resize: str, expected: dict[str, float]
) -> None:
    assert noted(noise, shape, resolution=64, resize=resize) == expected


def test_images_that_are_too_small_are_counted_and_listed(
    folder_of: Folder, pack: Pack, png: Png, noise: Noise
) -> None:
    folder = folder_of(cats=12, dogs=12)
    (folder / "cats" / "large.png").write_bytes(png(noise(77, 20, 20)))
    out, manifest = pack(source_of(folder), resolution=16)
    assert manifest.notes["enlarged"] == {
        "items": 24,
        "of": 25,
        "worst": 3.2,
        "item": "cats/0.png",
        "detail": "6×5 to 16×16, 3.2 times",
    }
    assert Manifest.load(out) == manifest
    found = rows(out)
    assert found[:2] == [["item", "note", "detail"], ["cats/0.png", "enlarged", "6×5 to 16×16, 3.2 times"]]
    assert len(found) == 25
    assert "cats/large.png" not in {row[0] for row in found}
    out, manifest = pack(source_of(folder), resolution=4)
    assert "enlarged" not in manifest.notes
    assert not (out / "notes.csv").exists(), "what an earlier packing noted is gone"


def test_a_source_of_one_known_size_may_be_doubled(pack: Pack) -> None:
    for side, expected in ((16, {}), (24, {"items": 100, "of": 100, "worst": 3.0})):
        out, manifest = pack({"name": "digits"}, limit=100, resolution=side, max_rejected_fraction=0)
        found = manifest.notes.get("enlarged", {})
        assert {name: found[name] for name in expected} == expected
        assert (out / "notes.csv").exists() is bool(expected)


def test_a_manifest_without_notes_has_the_bytes_it_had(pack: Pack) -> None:
    out, manifest = pack({"name": "digits"}, resolution=16)
    assert manifest.notes == {}
    assert "notes" not in json.loads((out / "manifest.json").read_text())


# --- classes, labels ------------------------------------------------------------------------------


def test_a_picture_under_two_labels_is_said(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=12, dogs=12)
    for name in ("x.png", "y.png"):
        (folder / "dogs" / name).write_bytes((folder / "cats" / "3.png").read_bytes())
    (folder / "cats" / "again.png").write_bytes((folder / "cats" / "5.png").read_bytes())
    _, manifest = pack(source_of(folder))
    assert manifest.duplicates == {"policy": "keep", "examples": 3, "conflicting": 2}
    assert manifest.notes["two_labels"] == {
        "items": 2,
        "of": 27,
        "detail": "dogs/x.png is dogs, and cats/3.png is cats",
    }
    (said,) = [line for line in notes.sentences(manifest.notes, "shards") if "label" in line]
    assert "2 of 27 items repeat another with another label: dogs/x.png is dogs" in said
    assert said.endswith("see shards/duplicates.csv")


@pytest.mark.parametrize(
    ("train", "holdout", "expected"),
    [
        ({"a": 10, "b": 10}, {"a": 1, "b": 2}, {}),
        ({"a": 9, "b": 10}, {"a": 1, "b": 2}, {"rare_classes": (1, ["a: 9"])}),
        ({"a": 5000, "b": 49, "c": 50}, {"a": 9, "b": 9, "c": 9}, {"rare_classes": (1, ["b: 49"])}),
        ({"a": 40, "b": 3, "c": 2}, {"a": 9, "b": 1, "c": 0}, {"rare_classes": (2, ["c: 2", "b: 3"])}),
        ({"a": 40, "b": 30}, {"a": 9, "b": 0}, {}),
        ({"a": 40, "b": 30}, {"a": 0, "b": 0}, {}),  # nothing is held out at all
        ({}, {}, {}),
    ],
)
def test_rare_classes(train: dict[str, int], holdout: dict[str, int], expected: dict[str, Any]) -> None:
    found = notes.of_classes(train, holdout)
    rare = {kind: (values["items"], values["names"]) for kind, values in found.items() if kind == "rare_classes"}
    assert rare == expected
    unseen = [name for name in train if not holdout[name]] if sum(holdout.values()) else []
    assert found.get("classes_without_holdout", {"names": []})["names"] == unseen


def test_only_five_classes_are_named() -> None:
    train = {f"class {number}": number for number in range(1, 9)}
    found = notes.of_classes({**train, "large": 100}, {"large": 9}, [f"gone {number}" for number in range(6)])
    assert found["rare_classes"] == {
        "items": 8,
        "of": 9,
        "worst": 1,
        "names": [f"class {number}: {number}" for number in range(1, 6)],
    }
    assert found["classes_without_holdout"]["items"] == 8
    assert len(found["classes_without_holdout"]["names"]) == 5
    assert found["dropped_classes"] == {"items": 6, "of": 15, "names": [f"gone {number}" for number in range(5)]}


# --- wherever an item is read ---------------------------------------------------------------------


def carried(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """As on nodes that see neither files nor shards."""
    for task in tasks:
        sent = pickle.dumps(carrying.loaded(task))
        answer = pickle.dumps(carrying.AnsweredAfar(function)(pickle.loads(sent)))
        yield carrying.delivered(task, pickle.loads(answer))


def test_notes_are_the_same_wherever_items_are_read(folder_of: Folder, tmp_path: Path) -> None:
    folder = folder_of(cats=12, dogs=9)
    (folder / "dogs" / "bad.png").touch()
    settings = IngestSettings(
        source=source_of(folder), resolution=[8, 40], resize="stretch", shard_examples=5, max_rejected_fraction=0.1
    )
    here = packing.ingest(settings, tmp_path / "here")
    assert {kind: here.notes[kind]["items"] for kind in ("enlarged", "stretched")} == {"enlarged": 21, "stretched": 21}
    packing.ingest(settings, tmp_path / "carried", map_shards=carried)
    for name in ("notes.csv", "manifest.json"):
        assert (tmp_path / "carried" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name


def test_a_pair_is_one_item(tmp_path: Path, png: Png, noise: Noise) -> None:
    for side, size in (("input", 4), ("target", 8)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "pairs" / side / f"{number}.png").write_bytes(png(noise(number, size, size)))
    source = {"name": "paired_folder", "folder": str(tmp_path / "pairs")}
    manifest = packing.ingest(IngestSettings(source=source, resolution=16), tmp_path / "out")
    assert manifest.notes == {
        "enlarged": {"items": 6, "of": 6, "worst": 4.0, "item": "0", "detail": "4×4 to 16×16, 4 times"}
    }


def test_classes_that_differ_in_case_or_unicode_form_alone_are_noted() -> None:
    train = {"Cat": 20, "cat": 30, "caf\u00e9": 20, "cafe\u0301": 20, "dog": 20}
    found = notes.of_classes(train, dict.fromkeys(train, 1))

    assert found["classes_named_alike"]["items"] == 4
    assert found["classes_named_alike"]["names"] == ["Cat and cat", "caf\u00e9 and cafe\u0301"]
    assert "classes_named_alike" not in notes.of_classes({"a": 20, "b": 20}, {"a": 1, "b": 1})
