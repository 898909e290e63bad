"""Scores of tables, against values that SDMetrics 0.32.0 gave for the same rows, and against cases with one answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import AnyMetric, Side, Statistics
from pipeline.data import columns
from pipeline.errors import UserError
from pipeline.metrics._tables import Values, decoded, written
from pipeline.metrics.record_privacy import distance_ratio
from pipeline.metrics.train_on_synthetic import f1
from pipeline.reporting.table_view import association
from pipeline.types import Column

WHO = ExtractorIdentity("rows", "ab" * 32, 7)
COLUMNS = (Column("a", decimals=2), Column("b", whole=True), Column("c", ("x", "y", "z")), Column("d", ("u", "v")))

SHAPES = (0.8733333333333333, 0.84, 0.9733333333333334, 0.6)
PAIRS = (
    0.989762202482116, 0.6333333333333334, 0.5999999999999999, 0.6033333333333333, 0.5066666666666667,
    0.6000000000000001,
)  # fmt: skip
"""Of SDMetrics: KSComplement, TVComplement; CorrelationSimilarity, ContingencySimilarity of all pairs in order."""


def rows(k: int, count: int = 60, scale: float = 1.0, shift: float = 0.0) -> np.ndarray[Any, Any]:
    n = np.arange(count)
    a = (((n * k) % 17) + 0.5 * (n % 3)) * scale + shift
    b = (n * n + k) % 23 - 2.0 * ((n * k) % 17)
    c, d = (n * k // 3) % 3, ((n * k) % 5 > 2).astype(int)
    table = zip(a.tolist(), b.tolist(), ("xyz"[i] for i in c), ("uv"[i] for i in d), strict=True)
    return np.stack([columns.encoded(row, COLUMNS) for row in table])


def scores(name: str, real: Any, fake: Any, holdout: Any = None, **keys: Any) -> dict[str, float]:
    metric: AnyMetric = plugins.load("metrics", {"name": name, **keys})
    held = None if holdout is None else Side.of(holdout)
    found = metric.compute(Statistics(Side.of(real), Side.of(fake), held, WHO, 0, columns=COLUMNS))
    return {score.name: score.value for score in found}


def test_shapes_and_pairs_are_those_of_sdmetrics() -> None:
    real, fake = rows(3), rows(5, 50, 1.2, -1.0)
    assert scores("column_shapes", real, fake) == {"column_shapes": pytest.approx(np.mean(SHAPES), abs=1e-6)}
    assert scores("column_pairs", real, fake) == {"column_pairs": pytest.approx(np.mean(PAIRS), abs=1e-6)}
    assert scores("column_shapes", real, real) == {"column_shapes": 1.0}
    assert scores("column_pairs", real, real) == {"column_pairs": 1.0}


def test_missing_numbers_and_constant_columns_are_left_out() -> None:
    masked = (Column("a", masked=True), Column("b"))
    x = np.array([[1, 0, 5], [2, 0, 5], [0, 1, 5], [3, 0, 5]], dtype=np.float32)
    assert np.isnan(decoded(x, masked)[0].values).tolist() == [False, False, True, False]
    assert np.isinf(written(decoded(x, masked))[2, 0])
    statistics = Statistics(Side.of(x), Side.of(x[:3]), None, WHO, 0, columns=masked)
    (score,) = plugins.load("metrics", {"name": "column_shapes"}).compute(statistics)
    assert score.value == pytest.approx(1 - (1 - 2 / 3) / 2)
    with pytest.raises(UserError, match="constant"):
        plugins.load("metrics", {"name": "column_pairs"}).compute(statistics)


def test_copies_are_found_and_fresh_rows_are_not() -> None:
    draw = np.random.default_rng(0)
    train, holdout, fresh = (draw.normal(0, 3, (80, 7)).astype(np.float32) for _ in range(3))
    copied = scores("record_privacy", train, train[:40], holdout)
    assert copied["copied_rows"] == 1.0
    assert copied["distance_ratio"] < 0.01
    assert copied["membership_advantage"] == pytest.approx(0.5, abs=0.05)  # half of the rows were copied
    honest = scores("record_privacy", train, fresh, holdout)
    assert honest["copied_rows"] == 0.0
    assert honest["distance_ratio"] > 0.7
    assert honest["membership_advantage"] < 0.3


def test_the_two_nearest_are_those_of_all_blocks() -> None:
    train = np.array([[0.0], [1.0], [5.0]])
    assert distance_ratio(np.array([[0.25]]), train) == pytest.approx(1 / 3)
    assert distance_ratio(np.array([[1.0]]), train) == 0.0


def test_a_classifier_of_samples_is_as_good_as_they_are() -> None:
    draw = np.random.default_rng(1)

    def made(count: int, honest: bool) -> Any:
        x = np.zeros((count, 7), dtype=np.float32)
        x[:, :2] = draw.normal(size=(count, 2))
        x[np.arange(count), 2 + draw.integers(0, 3, count)] = 1
        target = (x[:, 0] > 0.5) if honest else draw.integers(0, 2, count).astype(bool)
        x[np.arange(count), 5 + target.astype(int)] = 1
        return x

    found = scores("train_on_synthetic", made(400, True), made(400, True), made(200, True), seeds=2)
    assert found["real_trained_f1"] > 0.9
    assert found["synthetic_trained_f1"] > 0.9
    noise = scores(
        "train_on_synthetic", made(400, True), made(400, False), made(200, True), seeds=2, learner="logistic_regression"
    )
    assert noise["synthetic_trained_accuracy"] < 0.8 < noise["real_trained_accuracy"]
    with pytest.raises(UserError, match=r"train_on_synthetic\.target: 'a' is a column of numbers"):
        scores("train_on_synthetic", made(40, True), made(40, True), made(40, True), target="a")
    with pytest.raises(UserError, match=r"train_on_synthetic\.target: there is no column 'e'"):
        scores("train_on_synthetic", made(40, True), made(40, True), made(40, True), target="e")


def test_f1_by_hand() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    assert f1(truth, predicted, 1) == pytest.approx(2 / 3)
    assert f1(truth, predicted, None) == pytest.approx((0.5 + 2 / 3) / 2)


def test_associations_of_columns_that_are_one_and_that_are_nothing_to_each_other() -> None:
    codes = np.tile(np.arange(3), 20)
    one, other = Values("c", codes, 3), Values("d", np.repeat(np.arange(2), 30), 2)
    assert association(one, Values("e", (codes + 1) % 3, 3)) == pytest.approx(1.0)
    assert association(one, other) == pytest.approx(0.0)
    assert association(one, Values("n", codes.astype(float))) == pytest.approx(1.0)
    assert association(Values("n", codes.astype(float)), Values("m", -codes.astype(float))) == pytest.approx(-1.0)
