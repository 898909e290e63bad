from __future__ import annotations

import numpy as np
import pytest

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Score, Side, Statistics
from pipeline.contract.predictions import Predictions, are_probabilities
from pipeline.metrics import inception_score
from pipeline.scoring.collecting import FeatureAccumulator, planned

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


def scored(logits: np.ndarray, seed: int = 0, labels: np.ndarray | None = None, **keys: int | bool) -> Score:
    """The metric of a set that is collected block by block, as evaluate and score do."""
    metric = inception_score.Metric(inception_score.Config.model_validate(keys))
    collector = FeatureAccumulator(planned([metric], len(logits)), seed)
    for begin in range(0, len(logits), 64):
        rows = slice(begin, begin + 64)
        collector.take(np.zeros((len(logits[rows]), 2)), logits[rows], None if labels is None else labels[rows])
    side = collector.side()
    (score,) = metric.compute(Statistics(side, side, None, WHO, seed))
    return score


def test_parts_are_cut_from_a_shuffled_order_by_default() -> None:
    logits = one_hot(np.repeat(np.arange(4), 100), 4)
    assert inception_score.inception_scores(logits, 4) == pytest.approx(np.ones(4))
    score = scored(logits, splits=4)
    assert score.name == "score_classifier"
    assert score.value == pytest.approx(4.0, rel=0.05)
    assert (score.n_real, score.split, score.settings) == (0, None, {"splits": 4, "shuffle": True})
    assert score.warnings == ()
    assert scored(logits, splits=4) == score
    assert scored(logits, seed=1, splits=4).value != score.value


def test_parts_in_order_of_sorted_samples_are_warned_of() -> None:
    classes = np.repeat(np.arange(4), 100)
    score = scored(one_hot(classes, 4), splits=4, shuffle=False)
    assert score.value == pytest.approx(1)
    assert score.settings["shuffle"] is False
    assert [warning for warning in score.warnings if "come class by class, not shuffled" in warning]
    mixed = np.random.default_rng(0).permutation(classes)
    for harmless in (scored(one_hot(mixed, 4), splits=4, shuffle=False), scored(one_hot(classes, 4), shuffle=False)):
        assert harmless.warnings == ()
    # Predictions that say nothing, under labels that do.
    vague = scored(np.zeros((400, 4)), labels=classes, splits=4, shuffle=False)
    assert [warning for warning in vague.warnings if "class by class" in warning]


def test_a_single_part_has_no_order() -> None:
    logits = np.random.default_rng(0).normal(size=(300, 5))
    assert scored(logits).value == scored(logits, shuffle=False).value
    assert scored(logits).value == pytest.approx(inception_score.inception_scores(logits)[0], rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_arbitrary_orders_are_not_taken_for_sorted_ones(classes: int) -> None:
    draw = np.random.default_rng(classes)
    assert not any(inception_score.clustered(draw.integers(0, classes, 500)) for _ in range(200))
    assert inception_score.clustered(np.sort(draw.integers(0, classes, 500)))
    assert not inception_score.clustered(np.tile(np.arange(classes), 3))
    assert not inception_score.clustered(np.zeros(500, dtype=np.int64))


def test_logits_are_not_taken_for_probabilities_by_their_first_rows() -> None:
    rows = np.tile([[0.25, 0.75]], (3000, 1))
    assert are_probabilities(rows)
    rows[2999] = [4.0, -1.0]
    assert not are_probabilities(rows)


def test_parts_and_their_deviation_are_the_papers() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(103, 5)) * 3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    parts = [p[i * 103 // 10 : (i + 1) * 103 // 10] for i in range(10)]
    by_hand = [np.exp((part * np.log(part / part.mean(axis=0))).sum(axis=1).mean()) for part in parts]
    side = Side.of(np.zeros((103, 2)), logits, splits=10)
    (score,) = inception_score.Metric(inception_score.Config(splits=10, shuffle=False)).compute(
        Statistics(side, side, None, WHO, 0)
    )
    assert (score.value, score.spread) == (pytest.approx(np.mean(by_hand)), pytest.approx(np.std(by_hand)))
    given = Predictions.of(p, 10, probabilities=True)
    assert given.scores() == pytest.approx(by_hand)
    assert are_probabilities(p)
    assert not are_probabilities(logits)
