from __future__ import annotations

import csv
import hashlib
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from webdataset.compat import WebDataset

from pipeline.data import packing, preview, rejects
from pipeline.data.batches import Reader
from pipeline.data.ranking import rank
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Entry, Limits
from pipeline.errors import Rejected, SettingsError, UserError
from pipeline.formats import shards
from pipeline.formats.shards import Manifest
from pipeline.settings import Settings, validate
from pipeline.storage import files
from pipeline.types import Modality

Folder = Callable[..., Path]
Pack = Callable[..., tuple[Path, Manifest]]
Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def images(folder: Path, **keys: Any) -> dict[str, Any]:
    return {"name": "image_folder", "folder": str(folder), **keys}


def test_digits_are_packed_whole(pack: Pack) -> None:
    folder, manifest = pack({"name": "digits"}, shard_examples=500)
    assert manifest.spec.shape == (1, 8, 8)
    assert manifest.spec.classes == tuple("0123456789")
    train, holdout = manifest.split("train"), manifest.split("holdout")
    assert (train.examples, holdout.examples) == (1438, 359)
    assert [shard.examples for shard in train.shards] == [500, 500, 438]
    # the published class counts of the 1,797 digits
    together = [train.histogram[digit] + holdout.histogram[digit] for digit in "0123456789"]
    assert together == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert manifest.rejects == {}
    assert shards.verify(folder) == manifest == Manifest.load(folder)


def stock(urls: list[str], *decoders: str) -> list[dict[str, Any]]:
    """What webdataset's own reader makes of shards."""
    dataset: Any = WebDataset(urls, shardshuffle=False, empty_check=False)
    return list(dataset.decode(*decoders))


STOCK_READER_LEAKS = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@STOCK_READER_LEAKS
def test_a_stock_webdataset_reads_every_example(pack: Pack) -> None:
    folder, manifest = pack({"name": "digits"}, shard_examples=700, limit=900)
    urls = [str(folder / shard.name) for shard in manifest.split("train").shards]
    found = stock(urls, "l8")
    reader = Reader(folder, "train")
    examples = reader.examples(np.arange(len(reader)))
    assert len(found) == len(reader) == 720
    assert len({item["__key__"] for item in found}) == 720
    assert np.array_equal(np.stack([item["png"] for item in found]), examples["x"][:, 0])
    assert [item["cls"] for item in found] == examples["label"].tolist()


def test_two_runs_give_the_same_bytes_wherever_and_in_whatever_order(
    folder_of: Folder, pack: Pack, tmp_path: Path
) -> None:
    folder = folder_of(cats=12, dogs=9)
    first, _ = pack(images(folder), "one", shard_examples=4)
    again, _ = pack(images(folder), "two", shard_examples=4)
    assert contents(first) == contents(again)
    elsewhere = tmp_path / "elsewhere" / folder.name
    for path in sorted(folder.rglob("*.png"), reverse=True):  # written in another order, at another time
        copy = elsewhere / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    moved, _ = pack(images(elsewhere), "three", shard_examples=4)
    assert contents(first) == contents(moved)


def shipped(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterable[Any]:
    """What a cluster does: functions, tasks and answers travel as bytes, and the last task is done first."""
    sent = [pickle.dumps((function, task)) for task in tasks]
    answers: list[Any] = []
    for data in reversed(sent):
        run, task = pickle.loads(data)
        answers.append(pickle.loads(pickle.dumps(run(task))))
    return reversed(answers)


@pytest.mark.parametrize("source", [{"name": "digits"}, None])
def test_work_spread_over_processes_gives_the_same_bytes(
    folder_of: Folder, tmp_path: Path, source: dict[str, Any] | None
) -> None:
    chosen = IngestSettings(
        source=source or images(folder_of(cats=9, dogs=8)), shard_examples=5 if source is None else 300
    )
    packing.ingest(chosen, tmp_path / "alone")
    packing.ingest(chosen, tmp_path / "spread", map_shards=shipped)
    assert contents(tmp_path / "alone") == contents(tmp_path / "spread")


def test_nothing_tells_of_this_machine(folder_of: Folder, pack: Pack, tmp_path: Path) -> None:
    folder, manifest = pack(images(folder_of(cats=5)))
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    assert manifest.source == {"name": "image_folder", "folder": "images", "labels": "folders"}
    with tarfile.open(folder / "train-000000.tar") as tar:
        members = tar.getmembers()
    told = {(member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in members}
    assert told == {(0, 0, 0, "", "", 0o444)}


def test_progress_sees_both_passes(folder_of: Folder, tmp_path: Path) -> None:
    seen: list[int] = []

    def progress(answers: Iterable[Any]) -> Iterable[Any]:
        listed = list(answers)
        seen.append(len(listed))
        return listed

    chosen = IngestSettings(source=images(folder_of(cats=10)), shard_examples=4)
    packing.ingest(chosen, tmp_path / "out", progress=progress)
    assert seen == [3, 3]  # 10 entries by 4; 8 of train and 2 of holdout by 4


def test_limit_spreads_over_all_classes(folder_of: Folder, pack: Pack) -> None:
    _, manifest = pack(images(folder_of(a=6, b=6, c=6)), limit=6, holdout_fraction=0.0)
    assert manifest.split("train").histogram == {"a": 2, "b": 2, "c": 2}
    assert manifest.split("holdout").examples == 0
    assert manifest.split("holdout").shards == ()


def test_a_second_ingest_leaves_nothing_of_the_first(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=12)
    out, _ = pack(images(folder), shard_examples=2)
    (out / "mine.txt").write_text("kept")
    (out / ".train-000000.tar.12345678.tmp").write_bytes(b"left by a killed run")
    pack(images(folder), shard_examples=100)
    expected = ["duplicates.csv", "holdout-000000.tar", "index-holdout.npy", "index-train.npy", "manifest.json"]
    assert [path.name for path in sorted(out.iterdir())] == [*expected, "mine.txt", "rejects.csv", "train-000000.tar"]


def test_a_failed_ingest_leaves_no_manifest(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=4)
    out, _ = pack(images(folder))
    (folder / "cats" / "0.png").write_text("broken")
    with pytest.raises(UserError):
        pack(images(folder))
    assert not (out / "manifest.json").exists()


# --- rejects and duplicates ---------------------------------------------------------------------


def test_rejects_are_counted_and_listed(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=8)
    (folder / "cats" / "notes, long.png").write_text("x")
    (folder / "cats" / "z.jpg").write_text("x")
    out, manifest = pack(images(folder), max_rejected_fraction=0.2)
    assert manifest.rejects == {"not an image": 2}
    with (out / "rejects.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["item", "reason", "detail"],
        ["cats/notes, long.png", "not an image", "neither JPEG, PNG nor WebP"],
        ["cats/z.jpg", "not an image", "neither JPEG, PNG nor WebP"],
    ]
    assert sum(split.examples for split in manifest.splits.values()) == 8


def test_too_many_rejects_fail_with_the_first_reasons(folder_of: Folder, pack: Pack, tmp_path: Path) -> None:
    folder = folder_of(cats=2)
    for number in range(8):
        (folder / "cats" / f"bad{number}.png").touch()
    with pytest.raises(UserError) as caught:
        pack(images(folder), max_rejected_fraction=0.79)
    message = str(caught.value)
    assert "8 of 10 items cannot be used; ingest.max_rejected_fraction allows 0.79" in message
    assert "cats/bad0.png: not an image" in message
    assert "and 3 more" in message
    assert str(tmp_path / "shards" / "rejects.csv") in message
    assert len((tmp_path / "shards" / "rejects.csv").read_text().splitlines()) == 9
    pack(images(folder), max_rejected_fraction=0.8)


def test_nothing_but_rejects_fails_at_any_limit(tmp_path: Path, pack: Pack) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").touch()
    with pytest.raises(UserError, match="1 of 1 items cannot be used") as raised:
        pack(images(tmp_path / "x"), max_rejected_fraction=1.0)
    assert "raise the limit" not in str(raised.value)


def test_what_is_passed_over_is_counted_and_listed(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=8)
    before, clean = pack(images(folder))
    assert "passed_over" not in json.loads((before / "manifest.json").read_text())
    assert not (before / "passed_over.csv").exists()
    for name in (".DS_Store", "cats/.DS_Store", "cats/Thumbs.db", "cats/0.txt", "cats/1.txt", "README"):
        (folder / name).write_text("x")
    (folder / "cats" / ".ipynb_checkpoints").mkdir()
    (folder / "cats" / ".ipynb_checkpoints" / "0-checkpoint.png").write_bytes(b"x")
    out, manifest = pack(images(folder))
    assert manifest.rejects == {}
    assert manifest.splits == clean.splits
    assert manifest.passed_over == {".DS_Store": 2, ".ipynb_checkpoints/": 1, ".txt": 2, "README": 1, "Thumbs.db": 1}
    assert Manifest.load(out) == manifest
    assert manifest.sha256 != clean.sha256
    assert (out / "passed_over.csv").read_text().splitlines() == [
        "item,why",
        ".DS_Store,left by the operating system or a tool",
        "README,no image",
        "cats/.DS_Store,left by the operating system or a tool",
        "cats/.ipynb_checkpoints/,left by the operating system or a tool",
        "cats/0.txt,no image",
        "cats/1.txt,no image",
        "cats/Thumbs.db,left by the operating system or a tool",
    ]
    shutil.rmtree(folder / "cats" / ".ipynb_checkpoints")
    for name in (".DS_Store", "cats/.DS_Store", "cats/Thumbs.db", "cats/0.txt", "cats/1.txt", "README"):
        (folder / name).unlink()
    again, manifest = pack(images(folder))
    assert manifest == clean
    assert not (again / "passed_over.csv").exists()


def test_the_most_frequent_reason_comes_first(folder_of: Folder, pack: Pack) -> None:
    folder = folder_of(cats=14)
    (folder / "cats" / "a.png").write_bytes((folder / "cats" / "0.png").read_bytes()[:60])
    for number in range(6):
        (folder / "cats" / f"bad{number}.png").touch()
    with pytest.raises(UserError) as caught:
        pack(images(folder))
    head, counts, *shown = str(caught.value).splitlines()
    assert head.startswith("7 of 21 items cannot be used")
    assert counts == "  6 × not an image, 1 × damaged image"
    assert [line.partition(":")[0].strip() for line in shown[:5]] == [
        *(f"cats/bad{number}.png" for number in range(4)),
        "cats/a.png",
    ]
    assert shown[5] == "  … and 2 more"
    assert "raise the limit to 0.334" in shown[6]
    pack(images(folder), max_rejected_fraction=0.334)


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_limit_that_is_named_is_enough(bad: int, good: int) -> None:
    items = bad + good
    enough = rejects._enough(bad, items)
    rejects.check_rejects([rejects.Reject("x", "y")] * bad, items, float(f"{enough:g}"), Path())
    with pytest.raises(UserError):
        rejects.check_rejects([rejects.Reject("x", "y")] * bad, items, max(0, enough - 0.001), Path())


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("louder than full scale", "set ingest.source.beyond: normalise or cut"),
        ("too many bytes", "raise ingest.max_bytes"),
        ("damaged image", "mend or replace them"),
    ],
)
def test_no_limit_is_advised_where_all_are_set_aside(reason: str, says: str) -> None:
    found = [rejects.Reject("a", "another reason"), *[rejects.Reject(name, reason) for name in "bcd"]]
    with pytest.raises(UserError) as caught:
        rejects.check_rejects(found, 4, 1.0, Path("out"))
    last = str(caught.value).splitlines()[-1]
    assert says in last
    assert "a higher ingest.max_rejected_fraction would not help" in last
    assert "raise the limit" not in last


def duplicated(folder_of: Folder, png: Png, noise: Noise) -> Path:
    folder = folder_of(cats=6, dogs=4)
    (folder / "cats" / "0 again.png").write_bytes(png(noise(0), compress_level=0))  # other bytes, same pixels
    (folder / "dogs" / "cat.png").write_bytes(png(noise(0)))
    return folder


def test_duplicates_are_counted_and_kept_in_one_split(folder_of: Folder, pack: Pack, png: Png, noise: Noise) -> None:
    out, manifest = pack(images(duplicated(folder_of, png, noise)))
    assert manifest.duplicates == {"policy": "keep", "examples": 2, "conflicting": 1}
    with (out / "duplicates.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [
            ["cats/0.png", "cats", "cats/0 again.png", "cats"],
            ["dogs/cat.png", "dogs", "cats/0 again.png", "cats"],
        ]
    kept = {
        name: {x.tobytes() for x in Reader(out, name).examples(np.arange(len(Reader(out, name))))["x"]}
        for name in ("train", "holdout")
    }
    assert not kept["train"] & kept["holdout"]
    assert sum(split.examples for split in manifest.splits.values()) == 12


def test_duplicates_can_be_dropped(folder_of: Folder, pack: Pack, png: Png, noise: Noise) -> None:
    _, manifest = pack(images(duplicated(folder_of, png, noise)), duplicates="drop")
    assert manifest.duplicates == {"policy": "drop", "examples": 2, "conflicting": 1}
    assert {name: split.examples for name, split in manifest.splits.items()} == {"train": 8, "holdout": 2}


def test_identical_images_cannot_be_split(tmp_path: Path, pack: Pack, png: Png, noise: Noise) -> None:
    (tmp_path / "x").mkdir()
    for number in range(5):
        (tmp_path / "x" / f"{number}.png").write_bytes(png(noise(1)))
    with pytest.raises(UserError, match="5 examples with 1 content"):
        pack(images(tmp_path / "x"))
    _, manifest = pack(images(tmp_path / "x"), holdout_fraction=0.0)
    assert manifest.split("train").examples == 5
    with pytest.raises(UserError, match="1 examples with 1 content"):
        pack(images(tmp_path / "x"), duplicates="drop")


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0.01, 0.99), st.booleans())
def test_ranking(values: list[int], fraction: float, drop: bool) -> None:
    hashes = np.stack([np.frombuffer(hashlib.sha256(bytes([value])).digest(), dtype=np.uint8) for value in values])
    if len(set(values)) < 2:
        with pytest.raises(UserError):
            rank(hashes, fraction, drop)
        return
    ranking = rank(hashes, fraction, drop)
    ranked = [hashes[index].tobytes() for index in ranking.order]
    assert ranked == sorted(ranked)
    train, holdout = set(ranked[: ranking.train]), set(ranked[ranking.train :])
    assert train
    assert holdout
    assert not train & holdout
    assert len(ranking.repeats) == len(values) - len(set(values))
    assert all(values[repeat] == values[first] and first < repeat for repeat, first in ranking.repeats)
    if drop:
        assert len(ranked) == len(set(values))
        assert ranking.train == min(max(len(ranked) - round(len(ranked) * fraction), 1), len(ranked) - 1)
    else:
        assert sorted(ranking.order.tolist()) == list(range(len(values)))


# --- fitting --------------------------------------------------------------------------------------


def test_unlike_images_need_a_resolution_and_channels(tmp_path: Path, pack: Pack, png: Png, noise: Noise) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, (height, width, channels) in enumerate([(6, 5, 3), (6, 5, 3), (9, 9, 3), (6, 5, 1), (6, 5, 4)]):
        (folder / f"{number}.png").write_bytes(png(noise(number, height, width, channels)))
    with pytest.raises(SettingsError) as caught:
        pack(images(folder))
    channels, resolution = caught.value.problems
    assert channels == "ingest.channels: the images differ: 3 (3), 1 (1), 4 (1); say which channels all shall have"
    assert resolution == "ingest.resolution: the images differ: 6×5 (4), 9×9 (1); say which resolution all shall have"
    _, manifest = pack(images(folder), channels=4, resolution=[8, 6])
    assert manifest.spec.shape == (4, 8, 6)
    _, manifest = pack(images(folder), channels=1, resolution=(6, 5), resize="none", max_rejected_fraction=0.2)
    assert (manifest.spec.shape, manifest.rejects) == ((1, 6, 5), {"another resolution": 1})


def test_names_become_keys_that_webdataset_understands() -> None:
    assert packing.key_of(7, "cats/a.b.c.png") == "00000007-cats_a_b_c"
    assert packing.key_of(0, "花/猫.png") == "00000000"
    assert packing.key_of(0, "Ångström/ß 1.jpeg") == "00000000-Angstrom_1"
    assert packing.key_of(123_456_789, "x" * 500).startswith("123456789-xxx")
    assert len(packing.key_of(123_456_789, "x" * 500) + ".png") <= 100


@given(st.integers(0, 10**12), st.text(max_size=200))
def test_keys_are_plain(position: int, name: str) -> None:
    key = packing.key_of(position, name)
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert int(key.partition("-")[0]) == position
    assert len(key) < 90


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"resolution": 0}, r"ingest\.resolution: 0 is not allowed"),
        ({"resolution": [8]}, r"ingest\.resolution"),
        ({"resolution": [8, 8, 8]}, r"ingest\.resolution"),
        ({"channels": 2}, r"ingest\.channels: 2 is not allowed; it must be 1, 3 or 4"),
        ({"resize": "squash"}, r"ingest\.resize"),
        ({"filter": "box"}, r"ingest\.filter"),
        ({"holdout_fraction": 1}, r"ingest\.holdout_fraction"),
        ({"max_rejected_fraction": -0.1}, r"ingest\.max_rejected_fraction"),
        ({"shard_examples": 0}, r"ingest\.shard_examples"),
        ({"limit": 0}, r"ingest\.limit"),
        ({"max_pixels": 10**9}, r"ingest\.max_pixels"),
        ({"resoluton": 8}, r"ingest\.resoluton: unknown key; did you mean 'resolution'\?"),
        ({"source": "digits"}, r"ingest\.source"),
    ],
)
def test_wrong_settings_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate(IngestSettings, keys, "ingest")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"name": "digit"}, r"ingest\.source\.name: there is no source 'digit'.* did you mean 'digits'"),
        ({}, r"ingest\.source\.name: is required"),
        ({"name": "digits", "folder": "x"}, r"ingest\.source\.folder: unknown key"),
        ({"name": "image_folder"}, r"ingest\.source\.folder: is required"),
        ({"name": "image_folder", "folder": "nowhere"}, r"ingest\.source\.folder: 'nowhere' does not exist"),
        ({"name": "cifar10", "path": "nowhere"}, r"ingest\.source\.path: 'nowhere' does not exist"),
        ({"name": "idx", "folder": "nowhere"}, r"ingest\.source\.folder: 'nowhere' does not exist"),
    ],
)
def test_wrong_sources_are_refused_before_any_work(source: dict[str, Any], message: str, tmp_path: Path) -> None:
    chosen = IngestSettings(source=source)
    with pytest.raises(SettingsError, match=message):
        preview.preflight(chosen)
    with pytest.raises(SettingsError, match=message):
        packing.ingest(chosen, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_preflight_says_what_is_known(folder_of: Folder) -> None:
    digits = preview.preflight(IngestSettings())
    assert digits == preview.Preview(1, (8, 8), tuple("0123456789"))
    wider = preview.preflight(IngestSettings(resolution=(16, 24), channels=3))
    assert (wider.channels, wider.resolution) == (3, (16, 24))
    folder = preview.preflight(IngestSettings(source=images(folder_of(cats=1, dogs=1))))
    assert folder == preview.Preview(None, None, ("cats", "dogs"))


# --- other sources --------------------------------------------------------------------------------


class Config(Settings):
    """Nothing to set."""


class Waves(DataSource[Config]):
    """Ten waveforms, float32 (1, 50); the fourth is broken, and `changing` gives other values on every read."""

    modality: ClassVar[Modality] = "waveform"
    changing = False
    reads = 0

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        return [Entry(f"wave {number}", (number,)) for number in range(10)]

    def fetch(self, entry: Entry, limits: Limits) -> int:
        if entry.key == "wave 3":
            raise Rejected("silent")
        self.reads += 1
        return int(entry.where[0]) + (self.reads if self.changing else 0)

    def decode(self, stored: int, limits: Limits) -> NDArray[Any]:
        return np.sin(np.arange(50, dtype=np.float32) * stored)[None]


@STOCK_READER_LEAKS
def test_other_modalities_are_packed_as_npy(tmp_path: Path) -> None:
    chosen = IngestSettings(max_rejected_fraction=0.1, holdout_fraction=0.0)
    manifest = packing.pack(Waves(Config()), chosen, tmp_path)
    assert (manifest.spec.modality, manifest.spec.shape, manifest.spec.dtype) == ("waveform", (1, 50), "float32")
    found = stock([str(tmp_path / "train-000000.tar")])
    reader = Reader(tmp_path, "train", cache=tmp_path / "cache", cache_budget=10**6)
    assert np.array_equal(np.stack([item["npy"] for item in found]), reader.examples(np.arange(9))["x"])
    assert sorted(item["__key__"][9:] for item in found) == [f"wave_{number}" for number in range(10) if number != 3]


def test_data_that_changes_while_it_is_packed_is_noticed(tmp_path: Path) -> None:
    source = Waves(Config())
    source.changing = True
    with pytest.raises(UserError, match="was changed during ingest"):
        packing.pack(source, IngestSettings(max_rejected_fraction=0.1), tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_manifest_json_is_canonical(folder_of: Folder, pack: Pack) -> None:
    folder, manifest = pack(images(folder_of(cats=5)))
    data = (folder / "manifest.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == files.sha256_json(manifest.to_json())
    held = json.loads(data)
    del held["summary"]
    assert files.sha256_json(held) == manifest.sha256, "what follows from the shards has no part in it"
    assert held["spec"] == {"modality": "image", "shape": [3, 6, 5], "classes": ["cats"], "dtype": "uint8"}


@pytest.mark.slow
def test_sprites_of_68_by_56_keep_their_alpha(unpacked: Callable[[str], Path], pack: Pack) -> None:
    regular = unpacked("pokesprite-pairs.tar.xz") / "pokemon-gen8"
    out, manifest = pack(images(regular, labels="none"), channels=4, limit=300, max_rejected_fraction=0.05)
    assert manifest.spec.shape == (4, 56, 68)
    x = Reader(out, "train").examples(np.arange(20))["x"]
    assert set(np.unique(x[:, 3])) >= {0, 255}
    assert not x[:, :3][np.broadcast_to(x[:, 3:] == 0, x[:, :3].shape)].any()


@pytest.mark.slow
def test_flowers_at_32(unpacked: Callable[[str], Path], pack: Pack) -> None:
    _, manifest = pack(images(unpacked("flowers-64px-jpeg.tar.xz")), channels=3, resolution=32, limit=500)
    assert manifest.spec.shape == (3, 32, 32)
    assert {name: split.examples for name, split in manifest.splits.items()} == {"train": 400, "holdout": 100}
    assert manifest.rejects == {}
