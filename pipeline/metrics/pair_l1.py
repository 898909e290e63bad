"""Mean absolute difference of each sample and its truth, beside that of copying the input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.metrics import _pairs
from pipeline.metrics._pairs import PairSettings, Planes


class Config(PairSettings):
    """In grey levels, 0 to 255; `luminance` and `shave` as for psnr."""


class Metric(contract.Metric[Config]):
    """E|sample − truth| of each pair in grey levels, then the mean: 0 at best, and smaller is better."""

    needs = frozenset({"pairs"})
    aliases = ("l1",)

    def compute(self, statistics: Statistics) -> list[Score]:
        return _pairs.scores("pair_l1", statistics, self.config, absolute)


def absolute(a: Planes, b: Planes) -> NDArray[np.float64]:
    """Grey levels (n,) between pairs of images (n, C, H, W)."""
    return np.abs(a - b).reshape(len(a), -1).mean(axis=1)
