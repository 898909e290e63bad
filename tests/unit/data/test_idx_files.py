from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.source import Limits
from pipeline.data.sources.idx import Config, Source
from pipeline.errors import Rejected, SettingsError, UserError
from pipeline.settings import validate

IMAGES = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([2, 0, 1, 2, 2], dtype=np.uint8)


def idx(array: NDArray[np.uint8], kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


def official(folder: Path, part: str = "train", packed: bool = True) -> Path:
    for stem, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        data = idx(array)
        name = f"{part}-{stem}-ubyte"
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return folder


def opened(**keys: Any) -> Source:
    source = Source(Config(**keys))
    source.check()
    return source


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_with_the_official_names(tmp_path: Path, packed: bool) -> None:
    source = opened(folder=str(official(tmp_path, packed=packed)))
    assert source.native_shape() == (1, 3, 4)
    assert source.classes() == ("0", "1", "2")
    assert [(entry.key, entry.label) for entry in source.entries()][:2] == [
        ("train/000000", "2"),
        ("train/000001", "0"),
    ]
    for number, entry in enumerate(source.entries()):
        assert np.array_equal(source.read(entry, Limits())[:, :, 0], IMAGES[number])


def test_all_parts_follow_each_other(tmp_path: Path) -> None:
    official(official(tmp_path), "t10k")
    keys = [entry.key for entry in opened(folder=str(tmp_path), part="all").entries()]
    assert keys[4:6] == ["train/000004", "t10k/000000"]
    assert len(keys) == 10


def test_files_by_name_with_class_names(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(idx(IMAGES))
    (tmp_path / "l").write_bytes(idx(LABELS))
    images, labels = str(tmp_path / "i"), str(tmp_path / "l")
    assert opened(images=images).classes() == ()
    assert {entry.label for entry in opened(images=images).entries()} == {None}
    named = opened(images=images, labels=labels, classes=("a", "b", "c"))
    assert [entry.label for entry in named.entries()] == ["c", "a", "b", "c", "c"]
    too_few = opened(images=images, labels=labels, classes=("a", "b")).entries()
    assert [entry.problem for entry in too_few].count(("unknown label", "2, and there are 2 classes")) == 3


def test_colour_images(tmp_path: Path) -> None:
    colour = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    (tmp_path / "i").write_bytes(idx(colour))
    source = opened(images=str(tmp_path / "i"))
    assert source.native_shape() == (3, 4, 5)
    assert np.array_equal(source.read(source.entries()[1], Limits()), colour[1])
    with pytest.raises(Rejected, match="too many pixels"):
        source.read(source.entries()[0], Limits(max_pixels=19))


GOOD = idx(IMAGES)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no idx file"),
        (b"PK\3\4 something else", "no idx file"),
        (GOOD[:-1], "cut short or damaged"),
        (GOOD + b"\0", "cut short or damaged"),
        (GOOD[:9], "cut short or damaged"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "cut short or damaged"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 0, 0, 5), "cut short or damaged"),
        (idx(IMAGES, kind=13), "holds type 13 in 3 dimensions"),
        (idx(LABELS), "in 1 dimensions"),
        (idx(np.zeros((2, 3, 4, 2), dtype=np.uint8)), "2 channels"),
        (gzip.compress(GOOD, mtime=0)[:-9], "damaged or cut short"),
        (gzip.compress(GOOD, mtime=0)[:30] + b"garbage" * 9, "damaged or cut short"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "i").write_bytes(data)
    with pytest.raises(UserError, match=message):
        opened(images=str(tmp_path / "i")).entries()


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(gzip.compress(b"\0" * 10_000_000))
    with pytest.raises(UserError, match="unpacks to more than 1000000 bytes"):
        opened(images=str(tmp_path / "i"), max_unpacked_bytes=1_000_000).entries()


def test_labels_must_be_as_many_as_images(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(idx(IMAGES))
    (tmp_path / "l").write_bytes(idx(LABELS[:4]))
    with pytest.raises(UserError, match=r"holds 5 images, but .* 4 labels"):
        opened(images=str(tmp_path / "i"), labels=str(tmp_path / "l")).entries()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        opened(folder=str(tmp_path / "no"))
    with pytest.raises(SettingsError, match="holds no train-images-idx3-ubyte"):
        opened(folder=str(tmp_path))
    with pytest.raises(SettingsError, match=r"ingest\.source\.images: .* does not exist"):
        opened(images="no")
    for keys in ({}, {"folder": "a", "images": "b"}, {"folder": "a", "labels": "b"}):
        with pytest.raises(SettingsError, match="folder"):
            validate(Config, keys, "ingest.source")
    with pytest.raises(SettingsError, match="different names"):
        validate(Config, {"folder": "a", "classes": ["x", "x"]}, "ingest.source")


def test_fashion_mnist(real_data: Path) -> None:
    folder = real_data / "fashion-mnist"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    source = opened(folder=str(folder), part="t10k")
    labels = [entry.label for entry in source.entries()]
    assert {label: labels.count(label) for label in source.classes()} == {str(digit): 1000 for digit in range(10)}
    assert labels[:8] == list("92116146")  # boot, pullover, trouser, trouser, shirt, trouser, coat, shirt
    assert source.read(source.entries()[0], Limits()).shape == (28, 28, 1)
