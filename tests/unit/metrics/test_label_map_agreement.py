"""Agreement with label maps: confusion by hand, a judge that learns colours, and samples that show something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import LabelMaps, MapBlock, Score, Side, Statistics
from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.errors import UserError
from pipeline.metrics.label_map_agreement import agreement, confusion, mean_iou
from pipeline.sampling.samples import SampleSource
from pipeline.scoring.extract import inputs_of
from pipeline.scoring.map_pairs import maps_of

COLOURS = np.array([[200, 20, 20], [20, 200, 20], [20, 20, 200]], np.uint8)
RNG = np.random.default_rng(0)
PLACES = RNG.integers(0, 3, (40, 2, 2)).repeat(4, 1).repeat(4, 2)


def photo(places: NDArray[Any]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).integers(-20, 20, (*places.shape, 3))
    return np.clip(COLOURS[places] + noise, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)


def scored(made: NDArray[np.uint8], places: NDArray[Any] = PLACES, **keys: Any) -> dict[str, Score]:
    photos = photo(PLACES)

    def blocks(limit: int) -> Iterator[MapBlock]:
        for begin in range(0, limit, 16):
            rows = slice(begin, min(begin + 16, limit))
            yield MapBlock(photos[rows], places[rows], made[rows])

    maps = LabelMaps(3, 40, 40, lambda numbers: MapBlock(photos[numbers], PLACES[numbers]), blocks)
    none = Side(None)
    found = Statistics(none, none, None, ExtractorIdentity("toy", "", 1), 0, label_maps=maps)
    metric = plugins.load("metrics", {"name": "label_map_agreement", "width": 8, "examples": 640, "lr": 0.02, **keys})
    return {each.name: each for each in metric.compute(found)}


def test_confusion_agreement_and_iou_by_hand() -> None:
    asked, seen = np.array([[[0, 0, 1, -1]]]), np.array([[[0, 1, 1, 0]]])
    counts = confusion(asked, seen, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert agreement(counts) == pytest.approx(2 / 3)
    assert mean_iou(counts) == pytest.approx((1 / 2 + 1 / 2) / 2), "the third class was not asked for"


def test_samples_of_the_right_colours_agree_and_others_do_not() -> None:
    right, wrong = scored(photo(PLACES)), scored(photo((PLACES + 1) % 3))
    assert right["label_map_agreement"].value > 0.95
    assert right["label_map_agreement"].value == right["label_map_agreement_of_truth"].value
    assert wrong["label_map_agreement"].value < 0.05
    assert wrong["label_map_iou"].value < 0.05
    assert wrong["label_map_iou_of_truth"].value > 0.9


def test_places_of_no_class_do_not_count_and_the_limit_holds() -> None:
    made = photo(PLACES)
    half = PLACES.copy()
    half[:, :4] = -1
    made[:, :, :4] = 0
    found = scored(made, half, limit=20)["label_map_agreement"]
    assert found.value > 0.9
    assert (found.n_fake, found.split) == (20, "holdout")
    assert scored(made, np.full_like(PLACES, -1)) == {}


def test_a_design_without_maps_is_refused() -> None:
    none = Side(None)
    metric = plugins.load("metrics", {"name": "label_map_agreement"})
    with pytest.raises(UserError, match="no label maps"):
        metric.compute(Statistics(none, none, None, ExtractorIdentity("toy", "", 1), 0))


def test_maps_come_from_the_shards_beside_what_was_made_of_them(tmp_path: Path) -> None:
    for side in ("input", "target"):
        (tmp_path / "data" / side).mkdir(parents=True)
    places = RNG.integers(0, 3, (20, 2, 2), np.uint8).repeat(8, 1).repeat(8, 2)
    places[:, :2] = 255
    for number in range(20):
        Image.fromarray(places[number]).save(tmp_path / "data" / "input" / f"{number:02d}.png")
        shown = COLOURS[places[number] % 3]
        Image.fromarray(shown).save(tmp_path / "data" / "target" / f"{number:02d}.png")
    derive = {"pair": {"name": "one_hot", "of": "map", "classes": 3}}
    source = {"name": "paired_folder", "folder": str(tmp_path / "data"), "input_classes": 3}
    packing.ingest(IngestSettings.model_validate({"source": source, "derive": derive}), tmp_path / "shards")
    spec = packing.Manifest.load(tmp_path / "shards").spec
    family = plugins.load("families", {"name": "pix2pix", "preset": "smoke"})
    torch.manual_seed(0)
    networks = {"generator": family.build(spec)["generator"].eval()}
    model = SampleSource(family, networks, spec, inputs=inputs_of(family, tmp_path / "shards"))
    maps = maps_of(model, seed=1)
    assert maps is not None
    assert (maps.classes, maps.trained, maps.held) == (3, 16, 4)
    (block,) = maps.blocks(4)
    assert block.made is not None
    assert np.array_equal(block.made, model.sample(4, seed=1))
    assert (block.classes[:, :2] == -1).all()
    for each in (block, maps.train(np.arange(16))):
        colours = COLOURS[each.classes[:, 2:]].transpose(0, 3, 1, 2)
        assert np.array_equal(each.photo[:, :, 2:], colours)
