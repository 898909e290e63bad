from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Side, Statistics
from pipeline.errors import UserError
from pipeline.metrics.occupancy_iou import nearest


def side(examples: np.ndarray) -> Side:
    return replace(Side.of(np.zeros((len(examples), 2), np.float32)), examples=examples)


def scores(real: np.ndarray, fake: np.ndarray, **keys: float) -> dict[str, float]:
    metric = plugins.load("metrics", {"name": "occupancy_iou", **keys})
    who = ExtractorIdentity("toy", "ab" * 32, 2)
    return {score.name: score.value for score in metric.compute(Statistics(side(real), side(fake), None, who, 0))}


def test_the_largest_overlap_by_hand() -> None:
    shapes = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]], bool)
    others = np.array([[1, 1, 1, 0], [0, 0, 0, 1]], bool)
    assert nearest(shapes, others) == pytest.approx([2 / 3, 0, 1 / 2])
    assert nearest(np.zeros((1, 4), bool), np.zeros((1, 4), bool)) == pytest.approx([1])


def test_many_shapes_are_compared_in_blocks() -> None:
    drawn = np.random.default_rng(0).integers(0, 2, (700, 20)).astype(bool)
    others = np.random.default_rng(1).integers(0, 2, (30, 20)).astype(bool)
    union, common = (drawn[:, None] | others[None]).sum(2), (drawn[:, None] & others[None]).sum(2)
    np.testing.assert_allclose(nearest(drawn, others), (common / union).max(1))


def test_copies_give_1_and_missing_shapes_lower_the_coverage() -> None:
    real = np.zeros((4, 1, 2, 2, 2), np.uint8)
    for number in range(4):
        real[number].reshape(-1)[2 * number : 2 * number + 2] = 255
    assert scores(real, real) == {"occupancy_iou": 1, "occupancy_iou_coverage": 1}
    one = scores(real, real[:1].repeat(4, axis=0))
    assert one == {"occupancy_iou": 1, "occupancy_iou_coverage": 0.25}


def test_bytes_and_floats_are_full_above_the_level() -> None:
    level = np.array([0, 100, 150, 255], np.uint8).reshape(1, 1, 1, 2, 2)
    floats = level.astype(np.float32) / 127.5 - 1
    for keys in ({}, {"level": 0.3}, {"level": 0.7}):
        assert scores(level, floats, **keys)["occupancy_iou"] == 1
    with pytest.raises(UserError):
        plugins.load("metrics", {"name": "occupancy_iou"}).compute(
            Statistics(Side(None), Side(None), None, ExtractorIdentity("toy", "", 2), 0)
        )
