"""What all sources of folders share: links, splits, names, what is passed over; and how each refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: F401 (as in a stage, before Pillow)
from PIL import Image

from pipeline.data import packing, preview
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Limits
from pipeline.errors import SettingsError
from stages import ingest

FOLDERS = ("image_folder", "wav_folder", "paired_folder", "two_folders")


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def sound(path: Path, seed: int = 0) -> None:
    import wave

    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(np.random.default_rng(seed).integers(-9999, 9999, 64, dtype=np.int16).tobytes())


def fill(root: Path, *names: str, make: Callable[[Path, int], None] = picture) -> Path:
    for seed, name in enumerate(names):
        make(root / name, seed)
    return root


def opened(name: str, folder: Path | str, **keys: Any) -> DataSource[Any]:
    source = packing.open_source(IngestSettings(source={"name": name, "folder": str(folder), **keys}))
    source.check()
    return source


def good(name: str, folder: Path) -> dict[str, Any]:
    """A small good folder for a source, and the keys that it needs."""
    if name == "wav_folder":
        fill(folder, "a/0.wav", "b/0.wav", make=sound)
        return {"length": 64}
    sides = {"paired_folder": ("input", "target"), "two_folders": ("A", "B")}.get(name, ("a", "b"))
    fill(folder, *(f"{side}/{number}.png" for side in sides for number in range(2)))
    return {}


# --- passed over ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_what_others_leave_is_passed_over_by_every_source(name: str, tmp_path: Path) -> None:
    keys = good(name, tmp_path / "data")
    before = [(entry.key, entry.label) for entry in opened(name, tmp_path / "data", **keys).entries()]
    (side,) = {key.partition("/")[0] for key in map(str, (next((tmp_path / "data").iterdir()).name,))}
    for left in (".DS_Store", "Thumbs.db", "0.txt", "list.csv"):
        (tmp_path / "data" / side / left).write_text("x")
    picture(tmp_path / "data" / side / ".ipynb_checkpoints" / "0-checkpoint.png")
    source = opened(name, tmp_path / "data", **keys)
    assert [(entry.key, entry.label) for entry in source.entries()] == before
    assert all(entry.problem is None for entry in source.entries())
    assert sorted(item for item, _ in source.passed_over()) == [
        *(f"{side}/.DS_Store", f"{side}/.ipynb_checkpoints/", f"{side}/0.txt", f"{side}/Thumbs.db", f"{side}/list.csv")
    ]


def test_the_stage_says_it_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fill(tmp_path / "data", *(f"{name}/{number}.png" for name in "ab" for number in range(8)))
    settings = IngestSettings(source={"name": "image_folder", "folder": str(folder)})
    ingest.describe(packing.ingest(settings, tmp_path / "out"))
    assert "passed over" not in capsys.readouterr().out
    for number in range(3):
        (folder / "a" / f"{number}.txt").write_text("a caption")
    (folder / ".DS_Store").touch()
    ingest.describe(packing.ingest(settings, tmp_path / "out"))
    assert "passed over: 3 × .txt, 1 × .DS_Store (artifacts/shards/passed_over.csv)" in capsys.readouterr().out


def test_a_folder_of_passed_over_files_is_no_class(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data", "a/0.png", "b/0.png")
    for name in ("captions", "@eaDir", ".cache"):
        (folder / name).mkdir()
        (folder / name / "0.txt").write_text("x")
    (folder / "empty").mkdir()
    assert opened("image_folder", folder).classes() == ("a", "b")
    shutil.rmtree(folder / "a")
    shutil.rmtree(folder / "b")
    with pytest.raises(SettingsError, match=r"holds no image, only what is passed over \(.*1 × \.txt.*PNG, JPEG"):
        opened("image_folder", folder)


# --- names ------------------------------------------------------------------------------------------


def test_classes_come_in_natural_order_from_every_origin(tmp_path: Path) -> None:
    names = [str(number) for number in range(1, 13)]
    folder = fill(tmp_path / "images", *(f"{name}/0.png" for name in names))
    assert opened("image_folder", folder).classes() == tuple(names)
    rows = "".join(f"{name}/0.png,class{name}\n" for name in names)
    (tmp_path / "l.csv").write_text("file,label\n" + rows)
    classes = opened("image_folder", folder, labels=str(tmp_path / "l.csv")).classes()
    assert classes == tuple(f"class{name}" for name in names)
    sounds = fill(tmp_path / "sounds", *(f"{name}/{name}_x.wav" for name in names), make=sound)
    assert opened("wav_folder", sounds, length=64).classes() == tuple(names)
    assert opened("wav_folder", sounds, length=64, labels=r"(?P<label>\d+)_.*").classes() == tuple(names)


# --- links ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_links_beside_the_folder_are_followed_by_every_source(name: str, tmp_path: Path) -> None:
    keys = good(name, tmp_path / "kept")
    (tmp_path / "seen").mkdir()
    for child in (tmp_path / "kept").iterdir():
        (tmp_path / "seen" / child.name).symlink_to(f"../kept/{child.name}")
    there, here = (opened(name, tmp_path / place, **keys) for place in ("kept", "seen"))
    assert there.entries() == here.entries()
    assert there.classes() == here.classes()
    for entry in here.entries():
        assert np.array_equal(here.read(entry, Limits()), there.read(entry, Limits()))
    with pytest.raises(SettingsError, match=r"not followed"):
        opened(name, tmp_path / "seen", **keys, links="inside")
    allowed = opened(name, tmp_path / "seen", **keys, links=[str(tmp_path / "kept")])
    assert allowed.entries() == there.entries()
    assert "links" not in allowed.describe()


def test_class_folders_that_are_not_followed_are_named_with_the_setting(tmp_path: Path) -> None:
    fill(tmp_path / "far" / "away", *(f"{name}/0.png" for name in "abcde"))
    (tmp_path / "here" / "data").mkdir(parents=True)
    for name in "abcde":
        (tmp_path / "here/data" / name).symlink_to(tmp_path / "far/away" / name)
    with pytest.raises(SettingsError) as raised:
        opened("image_folder", tmp_path / "here/data")
    message = str(raised.value)
    place = tmp_path / "far" / "away"
    assert message.startswith("ingest.source.folder: all its class folders are links that are not followed")
    assert f"a → {place / 'a'}, b → {place / 'b'}, c → {place / 'c'} and 2 more" in message
    assert message.endswith(f"set ingest.source.links: [{place}]")
    assert opened("image_folder", tmp_path / "here/data", links=[str(place)]).classes() == tuple("abcde")
    fill(tmp_path / "here/data", "f/0.png")
    with pytest.raises(SettingsError, match="5 of its class folders"):
        opened("image_folder", tmp_path / "here/data")


@pytest.mark.parametrize("name", [*FOLDERS, "cifar10"])
def test_links_that_are_none_are_refused(name: str, tmp_path: Path) -> None:
    keys = good(name, tmp_path / "data")
    key = {"path" if name == "cifar10" else "folder": str(tmp_path / "data")}
    for links, says in (
        ("all", "links: 'all' is not allowed"),
        (7, "links: 7"),
        (["s3://x/y"], "links[0]: 's3://x/y'"),
    ):
        with pytest.raises(SettingsError) as raised:
            packing.open_source(IngestSettings(source={"name": name, **key, **keys, "links": links}))
        assert says in str(raised.value)
    source = packing.open_source(IngestSettings(source={"name": name, **key, **keys, "links": ["nowhere"]}))
    with pytest.raises(SettingsError, match=r"ingest\.source\.links\[0\]: 'nowhere' does not exist"):
        source.check()


# --- splits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["folders", "none"])
@pytest.mark.parametrize("names", [("train", "val"), ("Train", "TEST"), ("training", "dev", "holdout"), ("train",)])
def test_splits_are_no_classes(tmp_path: Path, names: tuple[str, ...], labels: str) -> None:
    fill(tmp_path / "data", *(f"{name}/{label}/0.png" for name in names for label in ("cat", "dog")))
    fill(tmp_path / "sounds", *(f"{name}/{label}/0.wav" for name in names for label in ("cat", "dog")), make=sound)
    first = next(name for name in names if name.lower().startswith("train"))
    for source, folder, keys in (("image_folder", "data", {}), ("wav_folder", "sounds", {"length": 64})):
        with pytest.raises(SettingsError) as raised:
            opened(source, tmp_path / folder, labels=labels, **keys)
        message = str(raised.value)
        assert all(f"'{name}' (2 " in message for name in names)
        assert f"folder: {tmp_path / folder / first} " in message
        again = opened(source, tmp_path / folder / first, labels=labels, **keys)
        assert again.classes() == (("cat", "dog") if labels == "folders" else ())


def test_a_class_may_be_named_as_a_split_is(tmp_path: Path) -> None:
    fill(tmp_path / "data", "train/0.png", "car/0.png")
    assert opened("image_folder", tmp_path / "data").classes() == ("car", "train")


def test_a_csv_may_name_files_of_splits(tmp_path: Path) -> None:
    fill(tmp_path / "data", "train/0.png", "val/0.png")
    (tmp_path / "l.csv").write_text("file,label\ntrain/0.png,a\nval/0.png,b\n")
    source = opened("image_folder", tmp_path / "data", labels=str(tmp_path / "l.csv"))
    assert [entry.label for entry in source.entries()] == ["a", "b"]


def test_splits_of_pairs_and_domains(tmp_path: Path) -> None:
    fill(tmp_path / "facades", "train/0.png", "val/1.png", "test/2.png")
    with pytest.raises(SettingsError, match=r"'test' \(1 image\), 'train' .*folder: .*facades/train "):
        opened("paired_folder", tmp_path / "facades", layout="side_by_side")
    assert len(opened("paired_folder", tmp_path / "facades/train", layout="side_by_side").entries()) == 1
    fill(tmp_path / "outer", *(f"{split}/{side}/0.png" for split in ("train", "val") for side in ("input", "target")))
    with pytest.raises(SettingsError, match=r"no sub-folder 'input'; there are train, val; .* set folder: .*outer/"):
        opened("paired_folder", tmp_path / "outer")
    fill(tmp_path / "inner", *(f"{side}/{split}/0.png" for split in ("train", "val") for side in ("A", "B")))
    with pytest.raises(SettingsError, match=r"source\.input: 'A' holds splits .*input: A/train "):
        opened("two_folders", tmp_path / "inner")
    with pytest.raises(SettingsError, match=r"source\.target: 'B' holds splits .*target: B/train "):
        opened("two_folders", tmp_path / "inner", input="A/train")
    assert len(opened("two_folders", tmp_path / "inner", input="A/train", target="B/train").entries()) == 2


# --- paths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_the_home_folder_is_meant_by_a_tilde(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = good(name, tmp_path / "data")
    source = opened(name, "~/data", **keys)
    assert source.config.folder == str(tmp_path / "data")
    assert all(source.read(entry, Limits()).size for entry in source.entries())
    with pytest.raises(SettingsError, match=rf"'{tmp_path}/nowhere' does not exist"):
        opened(name, "~/nowhere")


@pytest.mark.parametrize(
    ("source", "key"),
    [
        *(({"name": name}, "folder") for name in (*FOLDERS, "idx")),
        ({"name": "cifar10"}, "path"),
        ({"name": "idx"}, "images"),
        ({"name": "image_folder", "folder": "x"}, "labels"),
    ],
)
@pytest.mark.parametrize("address", ["ftp://bucket/flowers", "s3:///x", "https://", "gs://b", "file:///data"])
def test_addresses_that_are_not_read(source: dict[str, Any], key: str, address: str) -> None:
    with pytest.raises(SettingsError) as raised:
        preview.preflight(IngestSettings(source={**source, key: address}))
    assert str(raised.value).startswith(f"ingest.source.{key}: '{address}' is an address")
    assert "this machine" in str(raised.value)
    assert "does not exist" not in str(raised.value)


def test_what_is_not_there_is_told_with_what_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "flowers.zip").touch()
    with pytest.raises(SettingsError, match=r"is a file, not a folder .*; unpack it, and name the folder"):
        opened("image_folder", tmp_path / "flowers.zip")
    with pytest.raises(SettingsError, match=r"does not exist .*variables such as \$HOME are not replaced, ~ is"):
        opened("image_folder", "$HOME/flowers")
    fill(tmp_path / "MNIST" / "raw", "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    with pytest.raises(SettingsError, match=rf"holds no train-images-idx3-ubyte .*set folder: {tmp_path}/MNIST/raw"):
        opened("idx", tmp_path)


@pytest.mark.parametrize("path", ["", "  ", "a\0b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(SettingsError, match=r"ingest\.source\.folder: .* is not allowed"):
        packing.open_source(IngestSettings(source={"name": "image_folder", "folder": path}))
