from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import density_coverage, memorisation, precision_recall
from pipeline.metrics._shared import Side, Statistics, kth_neighbour, nearest, spans, squared_distances

# Reals at 0, 1, 2, 10; with k = 1 their balls have radii 1, 1, 1, 8.
REAL = np.array([[0.0], [1.0], [2.0], [10.0]])


def test_radii_leave_the_point_itself_out_but_not_its_twin() -> None:
    assert np.sqrt(kth_neighbour(REAL, 1)).tolist() == [1, 1, 1, 8]
    assert np.sqrt(kth_neighbour(REAL, 2)).tolist() == [2, 1, 2, 9]
    assert kth_neighbour(np.array([[5.0], [5.0], [7.0]]), 1).tolist() == [0, 0, 4]
    with pytest.raises(ValueError, match="more than 4 points"):
        kth_neighbour(REAL, 4)


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
    distance, position = nearest(np.array([[0.5], [9.0]]), REAL)
    assert distance.tolist() == [0.5, 1.0]
    assert position.tolist() == [0, 3]


@given(st.integers(0, 2**32), st.integers(1, 300))
@settings(deadline=None, max_examples=40)
def test_chunks_and_order_change_nothing(seed: int, budget: int) -> None:
    draw = np.random.default_rng(seed)
    real, fake = draw.normal(size=(25, 3)), draw.normal(0.5, 1, size=(20, 3))
    whole = precision_recall.precision_recall(real, fake, 3)
    assert precision_recall.precision_recall(real, fake, 3, budget) == whole
    assert precision_recall.precision_recall(draw.permutation(real), fake[::-1], 3) == whole
    assert precision_recall.precision_recall(fake, real, 3) == whole[::-1]
    both = density_coverage.density_coverage(real, fake, 3)
    assert density_coverage.density_coverage(real, fake, 3, budget) == both
    assert memorisation.memorisation(real, fake, fake, budget=budget) == memorisation.memorisation(real, fake, fake)


def test_a_set_covers_itself() -> None:
    points = np.random.default_rng(0).normal(size=(50, 4))
    assert precision_recall.precision_recall(points, points, 3) == (1.0, 1.0)
    # A ball of radius "3rd neighbour" holds its centre and three others.
    assert density_coverage.density_coverage(points, points, 3) == (pytest.approx(4 / 3), 1.0)


def test_spans_cut_all_rows_to_the_budget() -> None:
    assert [(rows.start, rows.stop) for rows in spans(5, 10, 20)] == [(0, 2), (2, 4), (4, 5)]
    assert [(rows.start, rows.stop) for rows in spans(2, 10, 1)] == [(0, 1), (1, 2)]


def test_distances_are_never_negative() -> None:
    far = np.random.default_rng(0).normal(size=(50, 3)) + 1e8
    assert squared_distances(far, far).min() >= 0


def test_either_side_has_equal_numbers_and_the_note_says_which() -> None:
    draw = np.random.default_rng(0)
    statistics = Statistics(Side.of(draw.normal(size=(60, 2))), Side.of(draw.normal(size=(20, 2))), None, "x", 0)
    for metric in (
        precision_recall.Metric(precision_recall.Config()),
        density_coverage.Metric(density_coverage.Config()),
    ):
        scores = metric.compute(statistics)
        assert {(score.n_real, score.n_fake) for score in scores} == {(20, 20)}
        assert "20 of 60 train examples" in scores[0].note
