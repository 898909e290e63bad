from __future__ import annotations

import numpy as np
import pytest

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Side, Statistics
from pipeline.errors import UserError
from pipeline.metrics import intra_class_frechet

WHO = ExtractorIdentity("classifier", "ab" * 32, 1)
METRIC = intra_class_frechet.Metric(intra_class_frechet.Config())
# Class 0 at ±1 round 0, class 1 at ±1 round 10: variance 2 each (n - 1).
REAL = np.array([[-1.0], [1.0], [9.0], [11.0]])
LABELS = np.array([0, 0, 1, 1])


def score(fake: np.ndarray, of_fake: np.ndarray) -> float:
    statistics = Statistics(Side.of(REAL, None, LABELS), Side.of(fake, None, of_fake), None, WHO, 0, True, ("a", "b"))
    (found,) = METRIC.compute(statistics)
    assert found.name == "intra_class_frechet_classifier"
    return found.value


def test_it_is_the_mean_over_classes() -> None:
    # Class 0 moved by 2: distance 4; class 1 spread twice as far: (√8 − √2)² = 2. Their mean is 3.
    assert score(np.array([[1.0], [3.0], [8.0], [12.0]]), LABELS) == pytest.approx(3.0)


def test_it_sees_labels_that_are_ignored() -> None:
    assert score(REAL, LABELS) == pytest.approx(0.0, abs=1e-12)
    assert score(REAL, 1 - LABELS) == pytest.approx(100.0)


def test_a_class_of_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"at least 2 of each class on either side; 'b' has 2 reals and 1 samples"):
        score(REAL[:3], LABELS[:3])
    with pytest.raises(UserError, match="none has a label"):
        intra_class_frechet.intra_class(REAL, np.full(4, -1), REAL, LABELS)
    with pytest.raises(UserError, match="needs the labels of both sides"):
        METRIC.compute(Statistics(Side.of(REAL), Side.of(REAL), None, WHO, 0))
