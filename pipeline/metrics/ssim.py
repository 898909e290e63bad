"""Structural similarity: whether means, contrasts and patterns of each sample are those of its truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.metrics import _pairs
from pipeline.metrics._pairs import PairSettings, Planes

PEAK = 255.0
K1, K2 = 0.01, 0.03
SIDE, DEVIATION = 11, 1.5


class Config(PairSettings):
    """Of images whose shorter side, without what is shaved off, has less than 11 pixels, no score is given."""


class Metric(contract.Metric[Config]):
    """“Image quality assessment”, Wang, Bovik, Sheikh, Simoncelli 2004, equation 13: 1 for equal images.

    A Gaussian window of 11×11 and deviation 1.5, K₁ = 0.01, K₂ = 0.03, range 255; the mean over all places where the
    window fits, and over channels.
    """

    needs = frozenset({"pairs"})

    def compute(self, statistics: Statistics) -> list[Score]:
        return _pairs.scores("ssim", statistics, self.config, ssim)


def ssim(a: Planes, b: Planes) -> NDArray[np.float64]:
    """Similarities (n,) of pairs of images (n, C, H, W) from 0 to 255; none of images smaller than the window."""
    if min(a.shape[2:]) < SIDE:
        return np.empty(0)
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a, variance_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return (above / below).reshape(len(a), -1).mean(axis=1)


def _blurred(x: Planes) -> Planes:
    """Weighted means (n, C, H - 10, W - 10) under the window, which is a product of two."""
    weights = np.exp(-0.5 * ((np.arange(SIDE) - SIDE // 2) / DEVIATION) ** 2)
    weights /= weights.sum()
    for axis in (2, 3):
        places = x.shape[axis] - SIDE + 1
        parts = (weight * x.take(range(at, at + places), axis=axis) for at, weight in enumerate(weights))
        x = np.asarray(sum(parts))
    return x
