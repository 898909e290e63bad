from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Side, Statistics
from pipeline.contract.moments import Moments
from pipeline.metrics import frechet

WHO = ExtractorIdentity("classifier", "ab" * 32, 2)


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int = 101) -> Moments:
    """Moments whose mean and covariance are exactly these."""
    outer = covariance * (count - 1) + count * np.outer(mean, mean)
    return Moments(count, mean * count, outer)


def test_equal_covariances_leave_the_distance_of_the_means() -> None:
    a, b = gaussian(np.array([1.0, 2.0]), np.eye(2)), gaussian(np.array([4.0, -2.0]), np.eye(2))
    assert frechet.distance(a, b) == pytest.approx(25.0, rel=1e-12)


def test_commuting_covariances_have_a_closed_form() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    first, second = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 25.0])
    a = gaussian(np.zeros(3), turn @ np.diag(first) @ turn.T)
    b = gaussian(np.ones(3), turn @ np.diag(second) @ turn.T)
    assert frechet.distance(a, b) == pytest.approx(3 + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum(), rel=1e-9)


def test_a_point_mass_against_a_gaussian_is_its_trace() -> None:
    a, b = gaussian(np.zeros(2), np.diag([2.0, 3.0])), gaussian(np.zeros(2), np.zeros((2, 2)))
    assert frechet.distance(a, b) == pytest.approx(5.0)
    assert frechet.distance(b, a) == pytest.approx(5.0)


@given(st.integers(0, 2**32), st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_it_is_symmetric_and_zero_only_at_home(seed: int, dimension: int) -> None:
    draw = np.random.default_rng(seed)
    a = Moments.of(draw.normal(size=(20, dimension)))
    b = Moments.of(draw.normal(1, 2, size=(30, dimension)))
    assert frechet.distance(a, b) == pytest.approx(frechet.distance(b, a), rel=1e-9)
    assert frechet.distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet.distance(a, b) > 0


def test_order_and_chunks_don_t_matter() -> None:
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(200, 8)), draw.normal(0.5, 1.2, size=(150, 8))
    expected = frechet.distance(Moments.of(x), Moments.of(y))
    other = frechet.distance(Moments.of(x[::-1], chunk=7), Moments.of(draw.permutation(y), chunk=11))
    assert other == pytest.approx(expected, rel=1e-11)


def test_fewer_examples_than_dimensions_work_and_are_noted() -> None:
    draw = np.random.default_rng(1)
    real, fake = Side.of(draw.normal(size=(40, 16))), Side.of(draw.normal(size=(5, 16)))
    metric = frechet.Metric(frechet.Config())
    (score,) = metric.compute(Statistics(real, fake, None, WHO, 0))
    assert np.isfinite(score.value)
    assert score.warnings == ("the samples are 5 in 16 dimensions: their covariance is rank-deficient, biased upwards",)


def test_the_three_scores_and_their_numbers() -> None:
    draw = np.random.default_rng(2)
    real, fake, holdout = (Side.of(draw.normal(size=(n, 2))) for n in (50, 40, 10))
    scores = frechet.Metric(frechet.Config()).compute(Statistics(real, fake, holdout, WHO, 0))
    assert [(score.name, score.n_real, score.n_fake) for score in scores] == [
        ("frechet_classifier", 50, 40),
        ("frechet_classifier_at_holdout_n", 50, 10),
        ("frechet_holdout", 50, 10),
    ]
    assert scores[1].value == pytest.approx(frechet.distance(real.moments, Moments.of(fake.rows()[:10])))
    assert scores[2].value == pytest.approx(frechet.distance(real.moments, holdout.moments))


def test_with_fewer_samples_than_holdout_both_shrink_alike() -> None:
    draw = np.random.default_rng(2)
    real, fake, holdout = (Side.of(draw.normal(size=(n, 2))) for n in (50, 8, 20))
    scores = frechet.Metric(frechet.Config()).compute(Statistics(real, fake, holdout, WHO, 0))
    assert [score.n_fake for score in scores] == [8, 8, 8]
