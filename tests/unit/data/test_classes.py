"""Classes without examples, and the last examples of a class, which training keeps."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.data import packing, preview, ranking, scanning
from pipeline.data.batches import Reader
from pipeline.data.ranking import rank
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Entry
from pipeline.errors import SettingsError, UserError
from pipeline.formats.shards import Manifest

Folder = Callable[..., Path]
Pack = Callable[..., tuple[Path, Manifest]]
Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]


def images(folder: Path, **keys: Any) -> dict[str, Any]:
    return {"name": "image_folder", "folder": str(folder), **keys}


def refused(pack: Pack, source: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        pack(source, **keys)
    return str(caught.value)


# --- classes without examples -------------------------------------------------------------------


@pytest.fixture
def birdless(folder_of: Folder) -> Path:
    folder = folder_of(bat=5, cats=8)
    (folder / "bird").mkdir()
    (folder / "bird" / "a.png").touch()
    return folder


def test_a_class_of_rejects_is_refused(birdless: Path, pack: Pack, tmp_path: Path) -> None:
    said = refused(pack, images(birdless), max_rejected_fraction=0.5)
    assert said.splitlines() == [
        "1 of 3 classes has no example to train on",
        "  bird: 1 item was rejected, bird/a.png: not an image",
        "mend or remove them, or set ingest.empty_classes: drop, which leaves them out",
    ]
    assert not (tmp_path / "shards" / "manifest.json").exists()
    (birdless / "bird" / "b.png").touch()
    said = refused(pack, images(birdless), max_rejected_fraction=0.5)
    assert "  bird: 2 items were rejected: 2 × not an image, such as bird/a.png" in said


def test_a_class_that_is_dropped_leaves_the_others_in_order(birdless: Path, pack: Pack) -> None:
    out, manifest = pack(images(birdless), max_rejected_fraction=0.5, empty_classes="drop")
    assert manifest.spec.classes == ("bat", "cats")
    assert [sum(split.histogram[name] for split in manifest.splits.values()) for name in ("bat", "cats")] == [5, 8]
    assert manifest.packing["empty_classes"] == "drop"
    assert manifest.notes["dropped_classes"] == {"items": 1, "of": 3, "names": ["bird"]}
    labels = Reader(out, "train").labels
    assert labels is not None
    assert set(labels.tolist()) == {0, 1}
    train = manifest.split("train").histogram
    assert np.bincount(labels).tolist() == [train["bat"], train["cats"]]


def test_what_is_not_dropped_is_recorded_as_before(folder_of: Folder, pack: Pack) -> None:
    _, manifest = pack(images(folder_of(a=15, b=15)))
    assert "empty_classes" not in manifest.packing


def test_links_that_lead_nowhere_are_of_the_class_they_lie_in(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=8)
    (folder / "bird").mkdir()
    (folder / "bird" / "a.png").symlink_to("nothing.png")
    said = refused(pack, images(folder), max_rejected_fraction=0.5)
    assert "  bird: 1 item was rejected, bird/a.png: broken symlink" in said


def test_rows_of_missing_files_give_a_class_nothing(folder_of: Folder, pack: Pack, tmp_path: Path) -> None:
    folder = folder_of(x=8)
    rows = [*(f"x/{number}.png,cat" for number in range(8)), "x/9.png,dog"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    source = images(folder, labels=str(tmp_path / "labels.csv"))
    said = refused(pack, source, max_rejected_fraction=0.5)
    assert "1 of 2 classes has no example" in said
    assert "dog: " in said
    assert "missing file" in said
    _, manifest = pack(source, max_rejected_fraction=0.5, empty_classes="drop")
    assert manifest.spec.classes == ("cat",)


def idx(folder: Path, labels: list[int]) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 5), dtype=np.uint8)
    (folder / "images").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes())
    (folder / "labels").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + bytes(labels))
    return {"name": "idx", "images": str(folder / "images"), "labels": str(folder / "labels")}


def test_labels_that_begin_at_one(tmp_path: Path, pack: Pack) -> None:
    source = idx(tmp_path, [1, 2, 4] * 12)
    assert refused(pack, source).splitlines()[:3] == [
        "2 of 5 classes have no example to train on",
        "  0: no item has this label; the labels begin at 1",
        "  3: there is no item",
    ]
    _, manifest = pack(source, empty_classes="drop")
    assert manifest.spec.classes == ("1", "2", "4")


def test_many_classes_are_named_by_reason(tmp_path: Path, pack: Pack) -> None:
    said = refused(pack, idx(tmp_path, [9, 9, 9, 30, 30, 30]))
    assert "29 of 31 classes have no example" in said
    assert "  0, 1, 2, 3, 4 and 4 more: no item has this label; the labels begin at 9" in said
    assert "  10, 11, 12, 13, 14 and 15 more: there is no item" in said


def test_a_class_of_nothing_but_repeats(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=8, dogs=1)
    (folder / "dogs" / "0.png").write_bytes((folder / "cats" / "3.png").read_bytes())
    said = refused(pack, images(folder), duplicates="drop")
    assert "  dogs: what it has repeats items of other classes, and ingest.duplicates is drop" in said
    _, manifest = pack(images(folder), duplicates="drop", empty_classes="drop")
    assert manifest.spec.classes == ("cats",)
    _, manifest = pack(images(folder))
    assert manifest.split("train").histogram["dogs"] == 1


# --- limits ---------------------------------------------------------------------------------------


def test_a_limit_below_the_number_of_classes(folder_of: Folder, tmp_path: Path) -> None:
    chosen = IngestSettings(source=images(folder_of(a=6, b=6, c=6)), limit=2)
    for ask in (lambda: preview.preflight(chosen), lambda: packing.ingest(chosen, tmp_path / "out")):
        with pytest.raises(SettingsError, match=r"ingest\.limit: 2 is below .* classes, 3; .*: take 6 or more"):
            ask()
    assert not (tmp_path / "out").exists()
    preview.preflight(chosen.model_copy(update={"empty_classes": "drop"}))
    with pytest.raises(SettingsError, match=r"ingest\.limit: 3 is just .* classes, 3; .*: take 6 or more$"):
        preview.preflight(chosen.model_copy(update={"limit": 3}))
    preview.preflight(chosen.model_copy(update={"limit": 3, "holdout_fraction": 0}))
    with pytest.raises(SettingsError, match=r": take 3 or more, or set ingest\.empty_classes: drop$"):
        preview.preflight(chosen.model_copy(update={"holdout_fraction": 0}))
    advised = chosen.model_copy(update={"limit": 6})
    preview.preflight(advised)
    assert len(packing.ingest(advised, tmp_path / "out").splits["holdout"].histogram) == 3


def test_a_limit_that_leaves_a_class_out(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(a=20, b=2, c=20)
    said = refused(pack, images(folder), limit=7)
    assert "  b: ingest.limit left out all it has (2)" in said
    assert "for ingest.limit, take 21 or more; mend or remove them, or set ingest.empty_classes: drop" in said
    _, manifest = pack(images(folder), limit=21)
    assert manifest.spec.classes == ("a", "b", "c")
    _, manifest = pack(images(folder), limit=7, empty_classes="drop")
    assert manifest.spec.classes == ("a", "c")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=8), st.sampled_from([0, 0.5]))
def test_the_limit_that_is_named_reaches_every_class(runs: list[tuple[int, int]], holdout: float) -> None:
    labels = [str(label) for label, length in runs for _ in range(length)]
    entries = [Entry(str(number), (number,), label) for number, label in enumerate(labels)]
    total = Counter(labels)
    said = scanning.reaching(entries, IngestSettings(source={"name": "digits"}, holdout_fraction=holdout))
    for limit in range(int(said.split()[1]), len(entries) + 1) if said.startswith("take") else [len(entries)]:
        used = Counter(entry.label for entry in scanning.limited(entries, limit))
        least = 2 if holdout and round(limit * holdout) <= len(total) else 1
        assert all(used[label] >= min(least, count) for label, count in total.items())
        if not said.endswith("or more"):
            break


def test_a_limit_for_classes_that_lie_mixed(pack: Pack) -> None:
    said = refused(pack, {"name": "digits"}, limit=5)
    assert ": take 40" in said
    assert len(pack({"name": "digits"}, limit=40)[1].spec.classes) == 10


# --- what the listing alone tells -----------------------------------------------------------------


def foreseen(source: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        preview.foresee(IngestSettings(source=source, **keys))
    return str(caught.value)


def test_rows_of_missing_files_are_foreseen(folder_of: Folder, tmp_path: Path) -> None:
    folder = folder_of(a=4)
    rows = ["file,label", *(f"a/{number}.png,{number % 2}" for number in range(4)), "gone.png,2"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    source = images(folder, labels=str(tmp_path / "labels.csv"))
    assert foreseen(source).splitlines() == [
        "1 of 5 items cannot be used; ingest.max_rejected_fraction allows 0.01",
        "  1 × missing file",
        "  gone.png: missing file (named in the labels)",
        "mend or remove them, or raise the limit to 0.2",
    ]
    said = foreseen(source, max_rejected_fraction=0.2)
    assert said.startswith("1 of 3 classes has no example to train on\n  2: there is no item")
    preview.foresee(IngestSettings(source=source, max_rejected_fraction=0.2, empty_classes="drop"))


def test_nothing_to_hold_out_is_foreseen(folder_of: Folder) -> None:
    folder = folder_of(a=1, b=1)
    assert foreseen(images(folder)) == ranking.ALL_LAST
    assert foreseen(images(folder, labels="none"), limit=1) == ranking.TOO_FEW.format(count=1)
    preview.foresee(IngestSettings(source=images(folder), holdout_fraction=0))
    preview.foresee(IngestSettings(source=images(folder, labels="none")))
    preview.foresee(IngestSettings(source={"name": "digits"}))


def test_batches_without_records_are_foreseen(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").touch()
    assert foreseen({"name": "cifar10", "path": str(tmp_path)}) == "the source cifar10 holds no items"


# --- the last examples of a class -----------------------------------------------------------------


def hashed(values: list[int]) -> NDArray[np.uint8]:
    return np.stack([np.frombuffer(hashlib.sha256(bytes([value])).digest(), dtype=np.uint8) for value in values])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 4)), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
    st.booleans(),
)
def test_training_sees_every_class(items: list[tuple[int, int]], fraction: float, drop: bool) -> None:
    hashes, labels = hashed([value for value, _ in items]), np.array([label for _, label in items])
    try:
        plain = rank(hashes, fraction, drop)
    except UserError:
        return
    try:
        ranking = rank(hashes, fraction, drop, labels)
    except UserError as error:
        said = str(error)
        if "holdout_fraction to" in said:
            wider = float(said.partition("holdout_fraction to ")[2].partition(",")[0])
            assert rank(hashes, wider, drop, labels).train < len(plain.order)
        return
    train, holdout = ranking.order[: ranking.train], ranking.order[ranking.train :]
    assert sorted(ranking.order) == sorted(plain.order)
    assert set(labels[holdout]) - {-1} <= set(labels[train])
    assert len(holdout)
    contents = [{hashes[index].tobytes() for index in part} for part in (train, holdout)]
    assert not contents[0] & contents[1]
    for part in (train, holdout):
        ranked = [hashes[index].tobytes() for index in part]
        assert ranked == sorted(ranked)
    before = plain.order[: plain.train]
    assert set(before) <= set(train)
    if set(labels[plain.order[plain.train :]]) - {-1} <= set(labels[before]):
        assert ranking.train == plain.train
        assert np.array_equal(ranking.order, plain.order)


def test_the_only_example_of_a_class_is_trained_on(folder_of: Folder, pack: Pack) -> None:
    """At whatever rank its hash is: six classes of one example, of which some would be held out."""
    ones = {f"one{number}": 1 for number in range(6)}
    _, manifest = pack(images(folder_of(many=20, **ones)))
    train, holdout = (manifest.split(name).histogram for name in ("train", "holdout"))
    assert {train[name] for name in ones} == {1}
    assert {holdout[name] for name in ones} == {0}
    assert holdout["many"] > 0
    assert manifest.notes["classes_without_holdout"] == {"items": 6, "of": 7, "names": sorted(ones)[:5]}


def test_equal_contents_move_together() -> None:
    order = np.argsort([hashlib.sha256(bytes([value])).digest() for value in range(12)])
    last = int(order[-1])  # the last by rank, twice, is all there is of class 1
    values = [*range(12), last]
    labels = np.array([int(value == last) for value in values])
    ranking = rank(hashed(values), 0.3, False, labels)
    train, holdout = ranking.order[: ranking.train].tolist(), ranking.order[ranking.train :].tolist()
    assert train[-2:] == [last, 12]
    assert len(holdout) >= 1
    assert 1 not in labels[holdout]


def test_where_every_class_has_one_example_nothing_can_be_held_out(folder_of: Folder, pack: Pack) -> None:
    said = refused(pack, images(folder_of(a=1, b=1, c=1)))
    assert "each example that would be held out is the last of its class" in said
    assert "bring at least one more" in said
    assert "holdout_fraction" not in said


def test_the_share_that_is_named_would_do() -> None:
    order = np.argsort([hashlib.sha256(bytes([value])).digest() for value in range(6)])
    labels = np.zeros(6, dtype=np.int64)
    labels[order[-1]] = 1  # the one that a sixth would hold out
    with pytest.raises(UserError, match=r"set ingest\.holdout_fraction to 0\.3, or bring more"):
        rank(hashed(list(range(6))), 0.17, False, labels)
    ranking = rank(hashed(list(range(6))), 0.3, False, labels)
    assert (ranking.train, labels[ranking.order].tolist()) == (5, [0, 0, 0, 0, 1, 0])


def test_no_share_of_zero_is_advised() -> None:
    with pytest.raises(UserError) as caught:
        rank(hashed([3, 3, 3]), 0.2, False)
    assert "3 examples with 1 content" in str(caught.value)
    assert "holdout_fraction" not in str(caught.value)
