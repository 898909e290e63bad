"""Fields of every kind, through ingest, shards, cache and batches: each keeps its own shape and type, few flip."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import fields
import numpy as np
import pytest
import torch
import webdataset  # pyright: ignore[reportMissingTypeStubs]
from PIL import Image
from torch import Tensor

from pipeline.data import packing
from pipeline.data.batches import Batches, Reader
from pipeline.data.preview import preflight
from pipeline.data.settings import IngestSettings
from pipeline.data.source import USUAL, DataSource
from pipeline.errors import SettingsError, UserError
from pipeline.formats import shards
from pipeline.formats.shards import Manifest
from pipeline.types import Batch, FieldSpec

BIG = 10**9
STOCK_READER_LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SETTINGS = IngestSettings(source={"name": "digits"}, shard_examples=4, holdout_fraction=0.25)
FIELDS = (
    FieldSpec("pair", "image", (1, 6, 8), "uint8", True),
    FieldSpec("mask", "mask", (1, 6, 8), "uint8", True),
    FieldSpec("thumbnail", "image", (3, 3, 2), "uint8", True),
    FieldSpec("attribute", "tensor", (3,), "float32", False),
    FieldSpec("text", "text", (5,), "int64", False),
    FieldSpec("age", "label", (), "int64", False),
)


def packed(folder: Path, source: DataSource[Any], settings: IngestSettings = SETTINGS) -> Manifest:
    return packing.ingest(settings, folder, source=source)


def of(batch: Batch) -> dict[str, Tensor]:
    """A batch by any name."""
    return cast(dict[str, Tensor], batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    packed(tmp_path / "shards", fields.Source(fields.Config()))
    return tmp_path / "shards"


def as_read(source: fields.Source) -> dict[bytes, dict[str, Any]]:
    """What the source holds, by x."""
    found: dict[bytes, dict[str, Any]] = {}
    for entry in source.entries():
        stored = source.fetch(entry, USUAL)
        x = source.decode(stored, USUAL).transpose(2, 0, 1)
        found[x.tobytes()] = source.decode_fields(stored, USUAL)
    return found


def test_the_manifest_describes_each_field(folder: Path) -> None:
    assert Manifest.load(folder).spec.fields == FIELDS
    assert Manifest.load(folder).spec.stored == FIELDS
    assert Manifest.load(folder).spec.other_domain is None


@pytest.mark.parametrize("cached", [True, False])
def test_each_field_comes_back_as_it_was(folder: Path, tmp_path: Path, cached: bool) -> None:
    reader = Reader(folder, "train", cache=tmp_path / "cache" if cached else None, cache_budget=BIG)
    assert reader.cached == cached
    found = reader.examples(np.arange(len(reader)))
    expected = as_read(fields.Source(fields.Config()))
    for row in range(len(reader)):
        mine = expected[found["x"][row].tobytes()]
        for each in FIELDS:
            values = mine[each.name].transpose(2, 0, 1) if each.flips else mine[each.name]
            assert found[each.name][row].dtype == each.dtype
            assert np.array_equal(found[each.name][row], values), each.name


@STOCK_READER_LEAKS
def test_webdataset_reads_them_too(folder: Path) -> None:
    shard = Manifest.load(folder).split("train").shards[0]
    expected = as_read(fields.Source(fields.Config()))
    for item in webdataset.WebDataset(str(folder / shard.name), shardshuffle=False, empty_check=False):
        x = np.asarray(Image.open(io.BytesIO(item["png"]))).transpose(2, 0, 1)
        mine = expected[x.tobytes()]
        assert np.array_equal(np.load(io.BytesIO(item["text.npy"])), mine["text"])
        assert np.load(io.BytesIO(item["age.npy"])) == mine["age"]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(item["mask.png"]))), mine["mask"][:, :, 0])


def test_batches_hold_images_in_both_signs_masks_from_0_to_1_and_whole_numbers(folder: Path) -> None:
    reader = Reader(folder, "train")
    batch = of(Batches(reader, 3).batch(0, 0, 9))
    assert {name: values.dtype for name, values in batch.items()} == {
        "x": torch.float32,
        "pair": torch.float32,
        "mask": torch.float32,
        "thumbnail": torch.float32,
        "attribute": torch.float32,
        "text": torch.int64,
        "age": torch.int64,
    }
    assert {name: tuple(values.shape[1:]) for name, values in batch.items()} == {
        "x": (3, 6, 8),
        **{each.name: each.shape for each in FIELDS},
    }
    assert set(batch["mask"].unique().tolist()) == {0.0, 1.0}
    assert -1 <= float(batch["pair"].min()) < -0.9
    assert int(batch["text"].max()) > 255


def test_only_fields_that_flip_are_mirrored_with_their_image(folder: Path) -> None:
    reader = Reader(folder, "train")
    plain = of(Batches(reader, 3).batch(0, 0, 40))
    flipped = of(Batches(reader, 3, flip=True).batch(0, 0, 40))
    turned = torch.tensor([not torch.equal(a, b) for a, b in zip(plain["x"], flipped["x"], strict=True)])
    assert 8 < int(turned.sum()) < 32
    for each in FIELDS:
        expected = plain[each.name].clone()
        if each.flips:
            expected[turned] = expected[turned].flip(-1)
        assert torch.equal(flipped[each.name], expected), each.name


def test_sounds_are_never_mirrored_nor_what_is_beside_them(tmp_path: Path) -> None:
    manifest = packed(tmp_path, fields.Sounds(fields.Config()))
    assert [each.flips for each in (manifest.spec.x, *manifest.spec.fields)] == [False, False, True]
    reader = Reader(tmp_path, "train")
    with pytest.raises(UserError):
        Batches(reader, 0, flip=True)
    batch = of(Batches(reader, 0).batch(0, 0, 4))
    assert batch["cover"].shape == (4, 3, 4, 4)
    assert batch["clean"].shape == batch["x"].shape == (4, 1, 16)


def test_another_domain_has_a_shape_of_its_own(tmp_path: Path) -> None:
    source = fields.Source(fields.Config(others=9))
    manifest = packed(tmp_path / "shards", source)
    assert manifest.spec.other_domain == FieldSpec("sketch", "image", (1, 4, 4), "uint8", True, "other_domain")
    assert manifest.spec.stored == FIELDS
    reader = Reader(tmp_path / "shards", "train", cache=tmp_path / "cache", cache_budget=BIG)
    streamed = Reader(tmp_path / "shards", "train")
    batch = of(Batches(reader, 3, flip=True).batch(0, 0, 8))
    again = of(Batches(streamed, 3, flip=True).batch(0, 0, 8))
    assert batch["sketch"].shape == (8, 1, 4, 4)
    assert all(torch.equal(batch[name], again[name]) for name in {**batch, **again})
    assert shards.verify(tmp_path / "shards").spec == manifest.spec


def test_masks_are_resized_without_mixing_and_only_what_is_aligned_is_resized(tmp_path: Path) -> None:
    chosen = SETTINGS.model_copy(update={"resolution": 4, "channels": 3})
    packed(tmp_path, fields.Source(fields.Config()), chosen)
    found = Reader(tmp_path, "train").examples(np.arange(9))
    assert {name: values.shape[1:] for name, values in found.items()} == {
        "x": (3, 4, 4),
        "pair": (3, 4, 4),
        "mask": (1, 4, 4),
        "thumbnail": (3, 3, 2),
        "attribute": (3,),
        "text": (5,),
        "age": (),
    }
    assert set(np.unique(found["mask"]).tolist()) == {0, 255}


def test_the_data_is_known_before_it_is_read() -> None:
    source = fields.Source(fields.Config(others=3))
    preview = preflight(SETTINGS.model_copy(update={"resolution": 4, "channels": 3}), source)
    spec = preview.spec(3)
    assert {each.name: each.shape for each in spec.fields} == {
        "pair": (3, 4, 4),
        "mask": (3, 4, 4),
        "thumbnail": (3, 4, 4),
        "attribute": (3,),
        "text": (5,),
        "age": (),
        "sketch": (3, 4, 4),
    }


def test_a_field_of_two_shapes_is_refused_by_its_name(tmp_path: Path) -> None:
    class Uneven(fields.Source):
        def decode_fields(self, stored: Any, limits: Any) -> dict[str, Any]:
            found = super().decode_fields(stored, limits)
            return found | {"text": found["text"][: 1 + stored[0] % 2]}

    with pytest.raises(SettingsError, match="'text'"):
        packed(tmp_path, Uneven(fields.Config()))


def test_a_field_of_another_type_than_declared_is_an_error_of_the_source(tmp_path: Path) -> None:
    class Wide(fields.Source):
        def decode_fields(self, stored: Any, limits: Any) -> dict[str, Any]:
            found = super().decode_fields(stored, limits)
            return found | {"attribute": found["attribute"].astype(np.float64)}

    with pytest.raises(TypeError, match="attribute"):
        packed(tmp_path, Wide(fields.Config()))
