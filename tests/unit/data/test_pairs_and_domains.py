from __future__ import annotations

import io
import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline import plugins
from pipeline.data import images, packing, preview
from pipeline.data.batches import Batches, Reader
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError, UserError
from pipeline.formats import shards
from pipeline.types import FieldSpec

BIG = 10**9
STOCK_READER_LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def picture(seed: int, size: tuple[int, int] = (6, 8), mode: str = "RGB") -> Image.Image:
    """(width, height)."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    source = np.random.default_rng(seed)
    return Image.fromarray(source.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8))


def pairs(root: Path, count: int = 12) -> Path:
    """input/<n>.png is grey, and target/<n>.webp its colours."""
    for side in ("input", "target"):
        (root / side / "deep").mkdir(parents=True)
    for number in range(count):
        picture(number, mode="L").save(root / "input" / "deep" / f"{number:02d}.png")
        picture(100 + number).save(root / "target" / "deep" / f"{number:02d}.webp", lossless=True)
    return root


def domains(root: Path, first: int = 7, second: int = 13) -> Path:
    for name, count, start in (("A", first, 0), ("B", second, 50)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture(start + number).save(root / name / f"{number:02d}.png")
    return root


def chosen(name: str, folder: Path, **keys: Any) -> IngestSettings:
    return IngestSettings(source={"name": name, "folder": str(folder), **keys}, shard_examples=4)


# --- pairs --------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    packing.ingest(chosen("paired_folder", pairs(tmp_path / "pairs")), tmp_path / "shards")
    return tmp_path / "shards"


def test_pairs_are_packed_side_by_side_and_twice_alike(packed: Path, tmp_path: Path) -> None:
    first = shards.verify(packed)
    second = packing.ingest(chosen("paired_folder", pairs(tmp_path / "again" / "pairs")), tmp_path / "twice")
    assert first.sha256 == second.sha256
    assert first.spec.shape == (3, 8, 6)
    assert first.spec.fields == (FieldSpec("pair", "image", (1, 8, 6), "uint8", True),)
    assert {name: split.examples for name, split in first.splits.items()} == {"train": 10, "holdout": 2}
    assert shards.load_index(packed, first.split("train"), first.spec).shape == (10, 6)


@STOCK_READER_LEAKS
def test_a_stock_reader_reads_both_halves(packed: Path) -> None:
    urls = [str(path) for path in sorted(packed.glob("train-*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))  # pyright: ignore
    mine = Reader(packed, "train").examples(np.arange(10))
    assert len(found) == 10
    for row, item in enumerate(found):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(item["png"]))), mine["x"][row].transpose(1, 2, 0))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(item["pair.png"]))), mine["pair"][row, 0])


def test_halves_stay_together(packed: Path) -> None:
    """Each x is the colour picture of the number whose grey one is its pair."""
    found = Reader(packed, "train").examples(np.arange(10))
    for x, pair in zip(found["x"], found["pair"], strict=True):
        (number,) = (n for n in range(12) if np.array_equal(np.asarray(picture(n, mode="L")), pair[0]))
        assert np.array_equal(np.asarray(picture(100 + number)).transpose(2, 0, 1), x)


@pytest.mark.parametrize("flip", [False, True])
def test_cache_shards_and_pieces_give_the_same_batches(packed: Path, tmp_path: Path, flip: bool) -> None:
    readers = [Reader(packed, "train"), Reader(packed, "train", cache=tmp_path / "cache", cache_budget=BIG)]
    assert readers[1].cached
    whole, cached = (Batches(reader, 5, flip).batch(24, 0, 16) for reader in readers)
    assert whole.keys() == {"x", "pair"}
    parts = [Batches(readers[0], 5, flip).batch(24, start, start + 4) for start in (0, 4, 8, 12)]
    for name in ("x", "pair"):
        assert torch.equal(whole[name], cached[name])
        assert torch.equal(whole[name], torch.cat([part[name] for part in parts]))


def test_a_pair_is_mirrored_together(packed: Path) -> None:
    reader = Reader(packed, "train")
    plain, flipped = (Batches(reader, 5, flip).batch(0, 0, 64) for flip in (False, True))
    turned = [not torch.equal(a, b) for a, b in zip(plain["x"], flipped["x"], strict=True)]
    assert 10 < sum(turned) < 54
    assert turned == [not torch.equal(a, b) for a, b in zip(plain["pair"], flipped["pair"], strict=True)]
    assert torch.equal(plain["pair"][turned].flip(-1), flipped["pair"][turned])


def test_equal_targets_of_unlike_inputs_are_two_contents(tmp_path: Path) -> None:
    root = pairs(tmp_path / "pairs")
    for number in (1, 2):
        picture(100).save(root / "target" / "deep" / f"{number:02d}.webp", lossless=True)
    manifest = packing.ingest(chosen("paired_folder", root), tmp_path / "out")
    assert manifest.duplicates["examples"] == 0
    picture(1, mode="L").save(root / "input" / "deep" / "02.png")
    assert packing.ingest(chosen("paired_folder", root), tmp_path / "out").duplicates["examples"] == 1


def test_what_has_no_partner_is_set_aside(tmp_path: Path) -> None:
    root = pairs(tmp_path / "pairs")
    (root / "input" / "deep" / "03.png").unlink()
    picture(9).save(root / "target" / "lonely.png")
    picture(9).save(root / "target" / "deep" / "04.jpg")
    with pytest.raises(UserError, match="3 of 13 items cannot be used"):
        packing.ingest(chosen("paired_folder", root), tmp_path / "out")
    assert (tmp_path / "out" / "rejects.csv").read_text().splitlines()[1:] == [
        "deep/03,no partner,'input' holds nothing of this name",
        "deep/04,two files of one name,\"in 'target': deep/04.jpg, deep/04.webp\"",
        "lonely,no partner,'input' holds nothing of this name",
    ]


def test_halves_of_two_sizes_are_set_aside_until_a_resolution_is_named(tmp_path: Path) -> None:
    root = pairs(tmp_path / "pairs")
    picture(3, (12, 16), "L").save(root / "input" / "deep" / "03.png")
    with pytest.raises(UserError, match=r"deep/03: two sizes \(8×6, and its pair 16×12; set ingest.resolution\)"):
        packing.ingest(chosen("paired_folder", root), tmp_path / "out")
    fitted = chosen("paired_folder", root).model_copy(update={"resolution": (8, 6)})
    assert packing.ingest(fitted, tmp_path / "out").rejects == {}


def placed(height: int, width: int, number: int) -> Image.Image:
    """Red tells how far from the left a pixel is, green how far from the top; blue is `number`."""
    down, right = ((np.arange(side) + 0.5) / side * 255 for side in (height, width))
    pixels = np.full((height, width, 3), 10.0 + number)
    pixels[:, :, 0], pixels[:, :, 1] = right, down[:, None]
    return Image.fromarray(pixels.round().astype(np.uint8))


def two_scales(root: Path, target: tuple[int, int], half: tuple[int, int], count: int = 6) -> Path:
    """Pairs of the same picture at two (height, width)."""
    for side, size in (("target", target), ("input", half)):
        (root / side).mkdir(parents=True)
        for number in range(count):
            placed(*size, number).save(root / side / f"{number}.png")
    return root


@pytest.mark.parametrize("resize", ["stretch", "center_crop", "pad"])
@pytest.mark.parametrize(
    ("target", "half"),
    [
        ((32, 32), (128, 128)),
        ((160, 96), (40, 24)),
        ((60, 240), (15, 60)),
        ((67, 101), (33, 50)),
        ((33, 50), (67, 101)),
    ],
)
@pytest.mark.parametrize("size", [32, (24, 40)])
def test_one_picture_at_two_scales_keeps_one_region(
    tmp_path: Path, target: tuple[int, int], half: tuple[int, int], resize: str, size: int | tuple[int, int]
) -> None:
    settings = chosen("paired_folder", two_scales(tmp_path / "pairs", target, half))
    fitting = {"resolution": size, "resize": resize, "filter": "bilinear"}
    manifest = packing.ingest(settings.model_copy(update=fitting), tmp_path / "out")
    assert manifest.rejects == {}
    found = Reader(tmp_path / "out", "train").examples(np.arange(3))
    assert np.array_equal(found["x"][:, 2] == 0, found["pair"][:, 2] == 0), "the same border is padded"
    x, pair = (found[name].astype(int)[:, :2, 2:-2, 2:-2] for name in ("x", "pair"))
    assert np.abs(x - pair).max() <= 3  # of 255: how far apart in the picture equal places are


@pytest.mark.parametrize("resize", ["center_crop", "pad"])
@pytest.mark.parametrize(("target", "half"), [((16, 16), (8, 16)), ((16, 8), (8, 16)), ((64, 48), (30, 24))])
def test_halves_of_two_shapes_are_set_aside(
    tmp_path: Path, target: tuple[int, int], half: tuple[int, int], resize: str
) -> None:
    settings = chosen("paired_folder", two_scales(tmp_path / "pairs", target, half))
    shapes = f"{target[0]}×{target[1]}, and its pair {half[0]}×{half[1]}"
    fitting = {"resolution": 16, "resize": resize}
    with pytest.raises(UserError, match=rf"0: two shapes \({shapes}; crop them alike, or set ingest.resize: stretch\)"):
        packing.ingest(settings.model_copy(update=fitting), tmp_path / "out")
    with pytest.raises(UserError, match=r"or set ingest\.resolution and ingest\.resize: stretch\)"):
        packing.ingest(settings, tmp_path / "out")
    fitting["resize"] = "stretch"
    packing.ingest(settings.model_copy(update=fitting), tmp_path / "out")
    found = Reader(tmp_path / "out", "train").examples(np.arange(3))
    assert np.abs(found["x"].astype(int) - found["pair"])[:, :2, 2:-2, 2:-2].max() <= 12


def test_partners_may_be_written_in_another_form_of_unicode(tmp_path: Path) -> None:
    for side, form in (("input", "NFD"), ("target", "NFC")):
        (tmp_path / side).mkdir()
        for number in range(4):
            picture(number).save(tmp_path / side / unicodedata.normalize(form, f"é{number}.png"))
            picture(number).save(tmp_path / side / f"{number}.png")
    source = plugins.load("data.sources", {"name": "paired_folder", "folder": str(tmp_path)}, "ingest.source")
    source.check()
    entries = source.entries()
    assert [entry.key for entry in entries] == [*"0123", *(f"é{number}" for number in range(4))]
    assert not any(entry.problem for entry in entries)
    # Where a name could mean two, none is taken.
    for form in ("NFC", "NFD"):
        picture(9).save(tmp_path / "input" / unicodedata.normalize(form, "éa.png"))
    picture(9).save(tmp_path / "target" / unicodedata.normalize("NFC", "éa.png"))
    source = plugins.load("data.sources", {"name": "paired_folder", "folder": str(tmp_path)}, "ingest.source")
    found = {entry.key: entry.problem and entry.problem[0] for entry in source.entries() if entry.key.endswith("a")}
    assert found == {unicodedata.normalize("NFD", "éa"): "no partner", unicodedata.normalize("NFC", "éa"): None}


@pytest.mark.parametrize("name", ["paired_folder", "two_folders"])
@pytest.mark.parametrize(("target", "what"), [("./A", "are one folder"), ("A/", "are one folder"), (".", "lie one")])
def test_two_sides_are_two_folders(name: str, target: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    picture(0).save(tmp_path / "A" / "0.png")
    source = {"name": name, "folder": str(tmp_path), "input": "A", "target": target}
    with pytest.raises(SettingsError, match=rf"source\.target: .* {what}"):
        plugins.load("data.sources", source, "ingest.source").check()


def test_both_halves_keep_a_red_edge(tmp_path: Path) -> None:
    """Of inputs of 8×16 and targets of 16×16, a crop kept the edge of one only."""
    for side, height in (("input", 8), ("target", 16)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((height, 16, 3), number, np.uint8)
            pixels[:, :2] = (255, 0, 0)
            Image.fromarray(pixels).save(tmp_path / "pairs" / side / f"{number}.png")
    settings = chosen("paired_folder", tmp_path / "pairs").model_copy(update={"resolution": 16})
    with pytest.raises(UserError, match="two shapes"):
        packing.ingest(settings, tmp_path / "out")
    packing.ingest(settings.model_copy(update={"resize": "stretch"}), tmp_path / "out")
    found = Reader(tmp_path / "out", "train").examples(np.arange(4))
    for name in ("x", "pair"):
        assert (found[name][:, 0, :, :2] == 255).all(), name
        assert (found[name][:, 0, :, 4:] < 10).all(), name


def test_halves_of_one_size_are_fitted_each_as_by_itself() -> None:
    for size in ((9, 7), (40, 31), (31, 40)):
        pixels = np.asarray(picture(5, size))
        for resize in ("stretch", "center_crop", "pad"):
            settings = IngestSettings.model_validate({"resolution": [12, 16], "resize": resize})
            together = images.fit(pixels, settings, pixels.shape[:2])
            assert np.array_equal(together, images.fit(pixels, settings))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 6))
def test_what_is_scaled_and_rounded_is_proportional(height: int, width: int, by: int) -> None:
    for rounded in (math.floor, math.ceil, round):
        smaller = max(1, rounded(height / by)), max(1, rounded(width / by))
        if min(height, width) >= by:
            assert images.proportional((height, width), smaller)
            assert images.proportional(smaller, (height, width))
    assert images.proportional((height, width), (2 * height + 2, 2 * width)) == (
        2 * width <= max(2 * height + 2, 2 * width)
    )


def test_pairs_of_two_sizes_ask_for_one(tmp_path: Path) -> None:
    root = pairs(tmp_path / "pairs")
    for side, mode in (("input", "L"), ("target", "RGB")):
        for path in (root / side / "deep").glob("03.*"):
            path.unlink()
        picture(3, (12, 16), mode).save(root / side / "deep" / "03.png")
    with pytest.raises(SettingsError, match=r"ingest\.resolution: the images differ: 8×6 \(11\), 16×12 \(1\)"):
        packing.ingest(chosen("paired_folder", root), tmp_path / "out")


def test_halves_side_by_side_are_cut_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    for number in range(6):
        picture(number, (12, 8)).save(tmp_path / "both" / f"{number}.png")
    found: dict[str, np.ndarray[Any, Any]] = {}
    for side in ("left", "right"):
        settings = chosen("paired_folder", tmp_path / "both", layout="side_by_side", target_side=side)
        packing.ingest(settings, tmp_path / side)
        whole = Reader(tmp_path / side, "train").examples(np.arange(5))
        found[side] = np.concatenate([whole["pair"], whole["x"]] if side == "right" else [whole["x"], whole["pair"]])
    originals = [np.asarray(picture(number, (12, 8))).transpose(2, 0, 1) for number in range(6)]
    for side in found:
        for left, right in zip(found[side][:5], found[side][5:], strict=True):
            assert any(np.array_equal(np.concatenate([left, right], axis=2), each) for each in originals)
    picture(7, (13, 8)).save(tmp_path / "both" / "odd.png")
    with pytest.raises(UserError, match=r"odd\.png: odd width \(13 columns"):
        packing.ingest(chosen("paired_folder", tmp_path / "both", layout="side_by_side"), tmp_path / "out")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"input": "inputs"}, r"source\.input: '.*' holds no sub-folder 'inputs'; there are input, other, target"),
        ({"input": "other"}, r"source\.input: '.*other' is empty"),
        ({"target": "input"}, "target: input and target are both 'input'"),
        ({"folder": "/nowhere"}, "'/nowhere' does not exist"),
    ],
)
def test_wrong_folders_are_named(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    (pairs(tmp_path / "pairs") / "other").mkdir()
    source = {"name": "paired_folder", "folder": str(tmp_path / "pairs"), **keys}
    with pytest.raises(SettingsError, match=says):
        preview.preflight(IngestSettings(source=source))


def test_sub_folders_without_a_common_name_are_refused(tmp_path: Path) -> None:
    root = pairs(tmp_path / "pairs", 2)
    for path in (root / "input" / "deep").iterdir():
        path.rename(path.with_name(f"grey_{path.name}"))
    with pytest.raises(
        SettingsError, match=r"no name stands in both 'input' and 'target'; .* 'deep/grey_00' and 'deep/00'"
    ):
        preview.preflight(chosen("paired_folder", root))


# --- two domains --------------------------------------------------------------------------------


def test_each_domain_has_splits_of_its_own(tmp_path: Path) -> None:
    manifest = packing.ingest(chosen("two_folders", domains(tmp_path / "two")), tmp_path / "out")
    assert shards.verify(tmp_path / "out").sha256 == manifest.sha256
    assert manifest.spec.fields == (FieldSpec("unpaired", "image", (3, 8, 6), "uint8", True, "other_domain"),)
    assert {name: split.examples for name, split in manifest.splits.items()} == {
        "train": 10,
        "holdout": 3,
        "unpaired_train": 6,
        "unpaired_holdout": 1,
    }
    mine = {np.asarray(picture(50 + number)).tobytes() for number in range(13)}
    for split, inside in (("train", True), ("holdout", True), ("unpaired_train", False)):
        found = Reader(tmp_path / "out", split).examples(np.arange(manifest.split(split).examples))["x"]
        assert all((x.transpose(1, 2, 0).tobytes() in mine) is inside for x in found)
    again = packing.ingest(chosen("two_folders", tmp_path / "two"), tmp_path / "again")
    assert again.sha256 == manifest.sha256


def test_the_second_domain_comes_in_an_order_of_its_own(tmp_path: Path) -> None:
    packing.ingest(chosen("two_folders", domains(tmp_path / "two")), tmp_path / "out")
    reader = Reader(tmp_path / "out", "train")
    cached = Reader(tmp_path / "out", "train", cache=tmp_path / "cache", cache_budget=BIG)
    batches = Batches(reader, 1)
    whole = batches.batch(0, 0, 60)
    assert whole.keys() == {"x", "unpaired"}
    names = [each.numpy().tobytes() for each in whole["unpaired"]]
    for epoch in range(10):
        assert len(set(names[6 * epoch : 6 * epoch + 6])) == 6, "an epoch shows each example once"
    assert names[:6] != names[6:12], "each epoch in another order"
    for start in (7, 30):
        later = Batches(cached, 1).batch(start, 4, 12)
        for name in ("x", "unpaired"):
            assert torch.equal(later[name], whole[name][start + 4 : start + 12])
    other = Batches(reader, 2).batch(0, 0, 60)
    assert not torch.equal(other["unpaired"], whole["unpaired"])


def test_domains_of_two_sizes_and_empty_ones_are_refused(tmp_path: Path) -> None:
    root = domains(tmp_path / "two")
    picture(3, (12, 16)).save(root / "A" / "00.png")
    with pytest.raises(SettingsError, match=r"the images differ: 8×6 \(6\), 16×12 \(1\)"):
        packing.ingest(chosen("two_folders", root), tmp_path / "out")
    for path in (root / "A").iterdir():
        path.unlink()
    with pytest.raises(SettingsError, match=r"source\.input: '.*A' is empty"):
        packing.ingest(chosen("two_folders", root), tmp_path / "out")


def test_a_packing_of_another_kind_leaves_nothing_behind(tmp_path: Path) -> None:
    packing.ingest(chosen("two_folders", domains(tmp_path / "two")), tmp_path / "out")
    packing.ingest(chosen("paired_folder", pairs(tmp_path / "pairs")), tmp_path / "out")
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(("unpaired", "index-unp"))]


# --- no data ------------------------------------------------------------------------------------


def test_nothing_is_packed_where_nothing_is_there(tmp_path: Path) -> None:
    settings = IngestSettings(source={"name": "synthetic", "shape": [16], "seed": 4})
    manifest = packing.ingest(settings, tmp_path / "out")
    assert shards.verify(tmp_path / "out").sha256 == manifest.sha256
    assert (manifest.spec.modality, manifest.spec.shape, manifest.spec.dtype) == ("rows", (16,), "float32")
    assert manifest.source["seed"] == 4
    assert manifest.source["shape"] == [16]
    assert [split.examples for split in manifest.splits.values()] == [0, 0]
    assert len(Reader(tmp_path / "out", "train", cache=tmp_path / "cache", cache_budget=BIG)) == 0


@pytest.mark.parametrize(("modality", "shape"), [("rows", [5]), ("waveform", [2, 40]), ("image", [3, 4, 5])])
def test_examples_are_drawn_from_counters(tmp_path: Path, modality: str, shape: list[int]) -> None:
    source = {"name": "synthetic", "modality": modality, "shape": shape, "examples": 20, "distribution": "uniform"}
    first = packing.ingest(IngestSettings(source=source), tmp_path / "a")
    second = packing.ingest(IngestSettings(source=source), tmp_path / "b")
    other = packing.ingest(IngestSettings(source={**source, "seed": 1}), tmp_path / "c")
    assert first.sha256 == second.sha256 != other.sha256
    assert first.spec.shape == tuple(shape)
    x = Batches(Reader(tmp_path / "a", "train"), 0).batch(0, 0, 16)["x"]  # pyright: ignore
    assert x.shape == (16, *shape)
    assert 0.3 < float(x.std()) < 0.8


def test_shapes_that_are_none_are_refused() -> None:
    for keys, says in (
        ({"modality": "image", "shape": [16]}, "is no image; that has 3 axes"),
        ({"modality": "image", "shape": [2, 4, 4]}, "1, 3 or 4 channels"),
    ):
        with pytest.raises(SettingsError, match=says):
            plugins.configure("data.sources", {"name": "synthetic", **keys}, "ingest.source")
