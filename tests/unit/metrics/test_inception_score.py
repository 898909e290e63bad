from __future__ import annotations

import numpy as np
import pytest

from pipeline.formats.extraction import ExtractorIdentity
from pipeline.metrics import inception_score
from pipeline.metrics._collecting import Collector, Plan
from pipeline.metrics._predictions import Predictions, are_probabilities
from pipeline.metrics._shared import Side, Statistics

WHO = ExtractorIdentity("classifier", "ab" * 32, 2)


def one_hot(labels: np.ndarray, classes: int, sharpness: float = 1e4) -> np.ndarray:
    return (np.eye(classes)[labels] * sharpness).astype(np.float64)


@pytest.mark.parametrize("classes", [2, 10, 1008])
def test_one_hot_and_balanced_is_the_number_of_classes(classes: int) -> None:
    logits = one_hot(np.tile(np.arange(classes), 3), classes)
    assert inception_score.inception_scores(logits)[0] == pytest.approx(classes, rel=1e-12)


def test_equal_predictions_score_one() -> None:
    logits = np.tile([[1.0, 2.0, 3.0]], (20, 1))
    assert inception_score.inception_scores(logits)[0] == pytest.approx(1.0, rel=1e-12)


def test_one_class_of_ten_scores_one() -> None:
    assert inception_score.inception_scores(one_hot(np.zeros(9, dtype=int), 10))[0] == pytest.approx(1.0)


def test_a_hand_counted_mixture() -> None:
    # p = (0.9, 0.1) or (0.1, 0.9) in equal parts: exp KL((.9, .1) ‖ (.5, .5))
    p = np.log([[0.9, 0.1], [0.1, 0.9]])
    expected = np.exp(0.9 * np.log(1.8) + 0.1 * np.log(0.2))
    assert inception_score.inception_scores(p)[0] == pytest.approx(expected, rel=1e-12)


def test_parts_come_in_order_or_shuffled() -> None:
    logits = one_hot(np.repeat(np.arange(4), 100), 4)
    assert inception_score.inception_scores(logits, 4) == pytest.approx(np.ones(4))
    collector = Collector(Plan(400, splits=4, shuffle=True), seed=0)
    for begin in range(0, 400, 64):
        collector.take(np.zeros((len(logits[begin : begin + 64]), 2)), logits[begin : begin + 64], None)
    metric = inception_score.Metric(inception_score.Config(splits=4, shuffle=True))
    side = collector.side()
    (score,) = metric.compute(Statistics(side, side, None, WHO, 0))
    assert score.name == "score_classifier"
    assert score.value == pytest.approx(4.0, rel=0.05)
    assert (score.n_real, score.split, score.settings["splits"]) == (0, None, 4)


def test_parts_and_their_deviation_are_the_papers() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(103, 5)) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    parts = [p[i * 103 // 10 : (i + 1) * 103 // 10] for i in range(10)]
    by_hand = [np.exp((part * np.log(part / part.mean(axis=0))).sum(axis=1).mean()) for part in parts]
    side = Side.of(np.zeros((103, 2)), logits, splits=10)
    (score,) = inception_score.Metric(inception_score.Config(splits=10)).compute(Statistics(side, side, None, WHO, 0))
    assert (score.value, score.spread) == (pytest.approx(np.mean(by_hand)), pytest.approx(np.std(by_hand)))
    given = Predictions.of(p, 10, probabilities=True)
    assert given.scores() == pytest.approx(by_hand)
    assert are_probabilities(p)
    assert not are_probabilities(logits)
