"""Column shapes: how alike each column's values are distributed, as SDMetrics defines it."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.metrics._shared import Floats, fewer
from pipeline.metrics._tables import Values, shares, sided
from pipeline.settings import Settings


class Config(Settings):
    """A bound on the rows that are kept."""

    limit: int = Field(default=50_000, ge=16, description="at most this many samples")


class Metric(contract.Metric[Config]):
    """The mean over columns of 1 − KS (numbers) and 1 − TV (categories): 1 where all marginals are equal.

    KS is the largest distance of the two distribution functions, without missing values; TV half the sum of the
    differences of all shares, a missing value being one category. The class is a column where samples have one.
    """

    needs = frozenset({"features", "columns"})
    aliases = ("marginals",)

    def compute(self, statistics: Statistics) -> list[Score]:
        classes = len(statistics.classes) if statistics.conditional else 0
        real, fake = (sided(side, statistics.columns, classes) for side in (statistics.real, statistics.fake))
        found = {one.name: likeness(one, other) for one, other in zip(real, fake, strict=True)}
        known = {name: value for name, value in found.items() if not np.isnan(value)}
        worst = min(known, key=lambda name: known[name])
        n_real, n_fake = len(real[0].values), len(fake[0].values)
        told = fewer(n_fake, statistics.fake, "samples") + fewer(n_real, statistics.real, "reals")
        note = f"1: equal marginals; the least is {known[worst]:.3f}, of '{worst}'"
        value = float(np.mean(list(known.values())))
        settings = self.config.model_dump(mode="json")
        return [Score("column_shapes", value, n_real, n_fake, statistics.split, note, warnings=told, settings=settings)]


def likeness(real: Values, fake: Values) -> float:
    """1 − KS or 1 − TV of one column; NaN where a side has no number at all."""
    if real.numeric:
        return ks_complement(real.values.astype(np.float64), fake.values.astype(np.float64))
    distance = np.abs(
        shares(real.values.astype(np.int64), real.categories) - shares(fake.values.astype(np.int64), real.categories)
    )
    return float(1 - distance.sum() / 2)


def ks_complement(real: Floats, fake: Floats) -> float:
    """1 − sup |F_real − F_fake|, without NaN."""
    one, other = (np.sort(values[~np.isnan(values)]) for values in (real, fake))
    if not len(one) or not len(other):
        return float("nan")
    everywhere = np.concatenate([one, other])
    first, second = (np.searchsorted(side, everywhere, side="right") / len(side) for side in (one, other))
    return float(1 - np.abs(first - second).max())
