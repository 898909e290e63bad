"""Peak signal-to-noise ratio: how near each sample is to its truth, in decibels, and how near the input was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.metrics import _pairs
from pipeline.metrics._pairs import PairSettings, Planes

PEAK = 255.0
MOST = 100.0  # decibels of equal images


class Config(PairSettings):
    """`{name: psnr, luminance: true, shave: 4}` is how ×4 super-resolution is reported, as `psnr_y`."""


class Metric(contract.Metric[Config]):
    """10·log₁₀(255² / mean squared difference) of each pair, at most 100 dB, then the mean: larger is better."""

    needs = frozenset({"pairs"})

    def compute(self, statistics: Statistics) -> list[Score]:
        return _pairs.scores("psnr", statistics, self.config, psnr)


def psnr(a: Planes, b: Planes) -> NDArray[np.float64]:
    """Decibels (n,) of pairs of images (n, C, H, W) from 0 to 255."""
    error = (a - b).__pow__(2).reshape(len(a), -1).mean(axis=1)
    return np.minimum(10 * np.log10(PEAK**2 / np.maximum(error, 1e-12)), MOST)
