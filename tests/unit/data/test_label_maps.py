"""Label maps: read by number, refused where a number is no class, resized without mixing, planes in batches."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import plugins
from pipeline.contract import AnyFamily, State, Turn
from pipeline.data import images, label_maps, packing, preview
from pipeline.data.batches import Batches, Reader
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.errors import Rejected, SettingsError, UserError
from pipeline.families._translation import Jitter, jittered
from pipeline.formats import shards
from pipeline.types import Array, DataSpec, FieldSpec

CLASSES = 5


def numbers(seed: int, height: int = 12, width: int = 8) -> Array:
    """Patches of 4×4 of one class each, some of them ignored."""
    drawn = np.random.default_rng(seed).integers(0, CLASSES + 1, (height // 4, width // 4))
    return np.where(drawn == CLASSES, 255, drawn).astype(np.uint8).repeat(4, 0).repeat(4, 1)


def saved(values: Array, mode: str = "P", form: str = "PNG") -> bytes:
    image = Image.fromarray(values)
    if mode == "P":
        image = Image.frombytes("P", (values.shape[1], values.shape[0]), values.tobytes())
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tolist())
    file = io.BytesIO()
    (image if mode in ("P", "L") else image.convert(mode)).save(file, form)
    return file.getvalue()


def streets(root: Path, count: int = 10, side: tuple[int, int] = (12, 8)) -> Path:
    for name in ("labels", "photos"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        (root / "labels" / f"{number}.png").write_bytes(saved(numbers(number, *side), "LP"[number % 2]))
        pixels = np.random.default_rng(number).integers(0, 256, (*side, 3), np.uint8)
        Image.fromarray(pixels).save(root / "photos" / f"{number}.png")
    return root


def settings(root: Path, **keys: Any) -> IngestSettings:
    source = {"name": "paired_folder", "folder": str(root), "input": "labels", "target": "photos"}
    derive = {"pair": {"name": "one_hot", "of": "map", "classes": CLASSES}}
    given = {"source": source | {"input_classes": CLASSES}, "derive": derive, **keys}
    return IngestSettings.model_validate(given)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_a_palette_s_indices_and_grey_levels_are_the_numbers(mode: str) -> None:
    values = numbers(3)
    assert np.array_equal(images.decode_map(saved(values, mode), Limits())[:, :, 0], values)


@pytest.mark.parametrize(("mode", "form"), [("RGB", "PNG"), ("L", "JPEG"), ("LA", "PNG"), ("L", "WEBP")])
def test_what_holds_no_numbers_of_classes_is_rejected(mode: str, form: str) -> None:
    with pytest.raises(Rejected) as found:
        images.decode_map(saved(numbers(3), mode, form), Limits())
    assert found.value.reason == "no label map"


def test_planes_are_one_at_the_class_and_nothing_where_it_is_ignored() -> None:
    values = numbers(1)[None, None]
    found = label_maps.planes(values, CLASSES, 255)
    assert found.shape == (1, CLASSES, 12, 8)
    assert set(np.unique(found)) == {0, 255}
    assert np.array_equal(found[0].argmax(0)[values[0, 0] < 255], values[0, 0][values[0, 0] < 255])
    assert not found[:, :, values[0, 0] == 255].any()


def test_each_class_has_a_colour_of_its_own_and_so_has_what_is_ignored() -> None:
    whole = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    found = label_maps.coloured(label_maps.planes(whole, 255, 255))
    assert found.shape == (1, 3, 16, 16)
    assert len(np.unique(found.reshape(3, -1), axis=1).T) == 256
    assert found[0, :, 0, :4].T.tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert found[0, :, 15, 15].tolist() == [224, 224, 192]


def test_maps_are_packed_as_numbers_and_read_as_planes(tmp_path: Path) -> None:
    root = streets(tmp_path / "streets")
    seen = preview.preflight(settings(root, resolution=(12, 8))).spec(3)
    assert seen.field_shape("pair") == (CLASSES, 12, 8)
    manifest = packing.ingest(settings(root), tmp_path / "shards")
    assert manifest.spec.field("map") == FieldSpec("map", "mask", (1, 12, 8), "uint8", True)
    assert manifest.spec.field_shape("pair") == (CLASSES, 12, 8)
    assert shards.verify(tmp_path / "shards").spec == manifest.spec
    reader = Reader(tmp_path / "shards", "train")
    plain: Any
    flipped: Any
    plain, flipped = (Batches(reader, 5, flip, ("x", "pair")).batch(0, 0, 32) for flip in (False, True))
    assert plain["pair"].sum(1).unique().tolist() == [0, 1]
    turned = [not torch.equal(a, b) for a, b in zip(plain["x"], flipped["x"], strict=True)]
    assert 5 < sum(turned) < 27
    assert torch.equal(plain["pair"][turned].flip(-1), flipped["pair"][turned])


@pytest.mark.parametrize("resize", ["center_crop", "pad", "stretch"])
def test_numbers_are_never_mixed(tmp_path: Path, resize: str) -> None:
    root = streets(tmp_path / "streets", side=(24, 16))
    packing.ingest(settings(root, resolution=7, resize=resize), tmp_path / "shards")
    found = Reader(tmp_path / "shards", "train").examples(np.arange(5), ["map"])["map"]
    assert set(np.unique(found)) <= {*range(CLASSES), 255}
    if resize == "pad":
        assert (found[:, 0, :, 0] == 255).all(), "the border of a map is no class"


def test_a_number_of_no_class_is_named(tmp_path: Path) -> None:
    root = streets(tmp_path / "streets")
    strange = numbers(4)
    strange[:4, :4] = 37
    (root / "labels" / "4.png").write_bytes(saved(strange))
    with pytest.raises(UserError, match="1 of 10 items"):
        packing.ingest(settings(root), tmp_path / "out")
    (_, line) = (tmp_path / "out" / "rejects.csv").read_text().splitlines()
    assert line.startswith("4,unknown class,")
    assert "37" in line
    assert "16 times" in line


def test_unlike_numbers_of_classes_are_found_at_ingest(tmp_path: Path) -> None:
    wrong = {"pair": {"name": "one_hot", "of": "map", "classes": 2}}
    with pytest.raises(UserError, match="classes is 2"):
        packing.ingest(settings(streets(tmp_path / "streets"), derive=wrong), tmp_path / "shards")


def test_sources_without_maps_are_described_as_before(tmp_path: Path) -> None:
    given: dict[str, Any] = {"name": "paired_folder", "folder": str(tmp_path)}
    plain, maps = (plugins.load("data.sources", given | keys).describe() for keys in ({}, {"input_classes": 3}))
    assert set(maps) - set(plain) == {"input_classes", "ignored"}
    assert (maps["input_classes"], maps["ignored"]) == (3, 255)


@pytest.mark.parametrize("keys", [{"layout": "side_by_side"}, {"ignored": 3}])
def test_what_cannot_be_a_map_is_refused(tmp_path: Path, keys: dict[str, Any]) -> None:
    source = {"name": "paired_folder", "folder": str(tmp_path), "input_classes": CLASSES, **keys}
    with pytest.raises(SettingsError, match=r"input_classes|ignored"):
        plugins.load("data.sources", source)


def test_pix2pix_jitters_maps_without_mixing_and_with_their_photographs() -> None:
    planes = torch.from_numpy(label_maps.planes(numbers(2, 16, 16)[None, None], CLASSES, 255)).float() / 255
    kept = jittered(planes, Jitter(), torch.Generator().manual_seed(3), planes=True)
    assert kept.unique().tolist() == [0, 1]
    spec = DataSpec("image", (3, 16, 16), fields=(FieldSpec.usual("pair", "mask", (CLASSES, 16, 16)),))
    family: AnyFamily = plugins.load("families", {"name": "pix2pix", "preset": "smoke", "jitter": {}})
    networks = family.build(spec)
    batch: Any = {"x": planes[:, :3] * 2 - 1, "pair": planes}
    turn = Turn(networks, batch, {}, State(seed=0), 0, "discriminator")
    seen: Any = family
    shown = seen.real(turn)
    assert shown.shape == (1, CLASSES + 3, 16, 16)
    assert shown[:, :CLASSES].unique().tolist() == [0, 1]
    both = (shown[:, :3] > 0.5) == (shown[:, CLASSES:] > 0)
    assert both.float().mean() > 0.95, "cut and mirrored alike"
