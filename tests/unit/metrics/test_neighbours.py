from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Side, Statistics
from pipeline.errors import UserError
from pipeline.metrics import density_coverage, memorisation, precision_recall
from pipeline.metrics._neighbours import centred, kth_neighbour, nearest, spans, squared_distances

WHO = ExtractorIdentity("classifier", "ab" * 32, 2)

# Reals at 0, 1, 2, 10; with k = 1 their balls have radii 1, 1, 1, 8.
REAL = np.array([[0.0], [1.0], [2.0], [10.0]])


def test_radii_leave_the_point_itself_out_but_not_its_twin() -> None:
    (points,) = centred(REAL)
    for block in (1, 3, 100):
        assert np.sqrt(kth_neighbour(points, 1, block)).tolist() == [1, 1, 1, 8]
        assert np.sqrt(kth_neighbour(points, 2, block)).tolist() == [2, 1, 2, 9]
    (twins,) = centred(np.array([[5.0], [5.0], [7.0]]))
    assert kth_neighbour(twins, 1).tolist() == pytest.approx([0, 0, 4])
    with pytest.raises(ValueError, match="more than 4 points"):
        kth_neighbour(points, 4)


def test_precision_and_recall_counted_by_hand() -> None:
    # Fakes −1 (touches 0's ball), 1.5, 30 and 31 (outside): precision 2/4.
    # Their radii are 2.5, 2.5, 1, 1: reals 0, 1, 2 lie in the first two, 10 in none: recall 3/4.
    fake = np.array([[-1.0], [1.5], [30.0], [31.0]])
    assert precision_recall.precision_recall(REAL, fake, 1) == (0.5, 0.75)
    assert precision_recall.f1(0.5, 0.75) == pytest.approx(0.6)
    assert precision_recall.f1(0.0, 0.0) == 0.0


def test_density_and_coverage_counted_by_hand() -> None:
    # Balls (k = 1): [−1, 1], [0, 2], [1, 3], [2, 18]. 0.5 lies in two, 2.5 in two, 50 in none.
    fake = np.array([[0.5], [2.5], [50.0]])
    assert density_coverage.density_coverage(REAL, fake, 1) == (pytest.approx(4 / 3), 1.0)
    assert density_coverage.density_coverage(REAL, fake[:1], 1) == (2.0, 0.5)


def test_memorisation_of_copies_and_of_strangers() -> None:
    holdout = np.array([[0.5], [3.0], [12.0]])  # distances 0.5, 1, 2: median 1
    assert memorisation.memorisation(REAL, REAL, holdout) == (1.0, 0.0)
    strangers = np.array([[20.0], [-5.0], [0.75]])  # 10, 5, 0.25
    assert memorisation.memorisation(REAL, strangers, holdout) == (pytest.approx(1 / 3), 5.0)


def test_nearest_takes_the_first_of_equals() -> None:
    among, points = centred(REAL, np.array([[0.5], [9.0]]))
    for block in (1, 100):
        distance, position = nearest(points, among, block)
        assert distance.tolist() == [0.5, 1.0]
        assert position.tolist() == [0, 3]


@given(st.integers(0, 2**32), st.integers(1, 30))
@settings(deadline=None, max_examples=40)
def test_blocks_and_order_change_nothing(seed: int, block: int) -> None:
    draw = np.random.default_rng(seed)
    real, fake = draw.normal(size=(25, 3)), draw.normal(0.5, 1, size=(20, 3))
    whole = precision_recall.precision_recall(real, fake, 3)
    assert precision_recall.precision_recall(real, fake, 3, block) == whole
    assert precision_recall.precision_recall(draw.permutation(real), fake[::-1], 3) == whole
    assert precision_recall.precision_recall(fake, real, 3) == whole[::-1]
    both = density_coverage.density_coverage(real, fake, 3)
    assert density_coverage.density_coverage(real, fake, 3, block) == both
    assert memorisation.memorisation(real, fake, fake, block=block) == memorisation.memorisation(real, fake, fake)


def test_a_set_covers_itself() -> None:
    points = np.random.default_rng(0).normal(size=(50, 4))
    assert precision_recall.precision_recall(points, points, 3) == (1.0, 1.0)
    # A ball of radius "3rd neighbour" holds its centre and three others.
    assert density_coverage.density_coverage(points, points, 3) == (pytest.approx(4 / 3), 1.0)


def test_spans_cut_all_rows() -> None:
    assert [(rows.start, rows.stop) for rows in spans(5, 2)] == [(0, 2), (2, 4), (4, 5)]


def test_distances_are_never_negative() -> None:
    far = np.random.default_rng(0).normal(size=(50, 3)) + 1e8
    assert squared_distances(far, far).min() >= 0


@pytest.mark.parametrize("metric", [precision_recall, density_coverage])
def test_all_of_either_side_are_used_as_far_as_the_limit(metric: Any) -> None:
    draw = np.random.default_rng(0)
    statistics = Statistics(Side.of(draw.normal(size=(60, 2))), Side.of(draw.normal(size=(20, 2))), None, WHO, 0)
    found = metric.Metric(metric.Config()).compute(statistics)
    assert {(score.n_real, score.n_fake) for score in found} == {(60, 20)}
    few = metric.Metric(metric.Config(limit=12)).compute(statistics)
    assert {(score.n_real, score.n_fake) for score in few} == {(12, 12)}
    assert few[0].warnings == ("12 of 60 reals, chosen by the seed", "12 of 20 samples, chosen by the seed")
    assert few == metric.Metric(metric.Config(limit=12)).compute(statistics)


@pytest.mark.parametrize("metric", [precision_recall, density_coverage])
def test_too_few_are_refused(metric: Any) -> None:
    side = Side.of(np.zeros((3, 2)))
    with pytest.raises(UserError, match="need more than"):
        metric.Metric(metric.Config()).compute(Statistics(side, side, None, WHO, 0))


def test_unequal_numbers_are_said() -> None:
    draw = np.random.default_rng(0)
    statistics = Statistics(Side.of(draw.normal(size=(60, 2))), Side.of(draw.normal(size=(20, 2))), None, WHO, 0)
    score = precision_recall.Metric(precision_recall.Config()).compute(statistics)[0]
    assert "unequal numbers, 60 and 20" in score.warnings[0]
