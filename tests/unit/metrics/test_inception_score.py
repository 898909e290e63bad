from __future__ import annotations

import numpy as np
import pytest

from pipeline.metrics import inception_score
from pipeline.metrics._shared import Side, Statistics


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


def test_splits_see_every_class_though_samples_come_sorted() -> None:
    logits = one_hot(np.repeat(np.arange(4), 100), 4)
    metric = inception_score.Metric(inception_score.Config(splits=4))
    side = Side.of(np.zeros((400, 2)), logits)
    (score,) = metric.compute(Statistics(side, side, None, "classifier", 0))
    assert score.name == "score_classifier"
    assert score.value == pytest.approx(4.0, rel=0.05)
    assert (score.n_real, score.split) == (0, None)
