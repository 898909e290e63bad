"""Column pairs: how alike columns go together, as SDMetrics defines it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.errors import UserError
from pipeline.metrics._shared import Floats, fewer
from pipeline.metrics._tables import Values, binned, correlation, edges_of, joint, sided
from pipeline.settings import Settings


class Config(Settings):
    """A bound on the rows that are kept."""

    limit: int = Field(default=50_000, ge=16, description="at most this many samples")


class Metric(contract.Metric[Config]):
    """The mean over pairs of columns of 1 − |ρ_fake − ρ_real| / 2 (two of numbers), else of 1 − TV of both together.

    Beside a column of categories, one of numbers is cut into ten bins between the real values' ends. Pairs in which a
    column of numbers is constant are left out.
    """

    needs = frozenset({"features", "columns"})
    aliases = ("pairs",)

    def compute(self, statistics: Statistics) -> list[Score]:
        classes = len(statistics.classes) if statistics.conditional else 0
        real, fake = (sided(side, statistics.columns, classes) for side in (statistics.real, statistics.fake))
        if len(real) < 2:
            raise UserError("column_pairs: the table has one column, and pairs need two")
        found = pairs(real, fake)
        known = {names: value for names, value in found.items() if not np.isnan(value)}
        if not known:
            raise UserError("column_pairs: every column is constant, so that nothing goes together")
        worst = min(known, key=lambda names: known[names])
        n_real, n_fake = len(real[0].values), len(fake[0].values)
        told = fewer(n_fake, statistics.fake, "samples") + fewer(n_real, statistics.real, "reals")
        note = f"1: columns go together alike; the least is {known[worst]:.3f}, of '{worst[0]}' and '{worst[1]}'"
        value = float(np.mean(list(known.values())))
        settings = self.config.model_dump(mode="json")
        return [Score("column_pairs", value, n_real, n_fake, statistics.split, note, warnings=told, settings=settings)]


def pairs(real: list[Values], fake: list[Values]) -> dict[tuple[str, str], float]:
    """The likeness of each pair of columns, NaN where it has none."""
    edges = [edges_of(each.values.astype(np.float64)) if each.numeric else np.zeros(1) for each in real]
    codes = [[binned(each, cut) for each, cut in zip(side, edges, strict=True)] for side in (real, fake)]
    found: dict[tuple[str, str], float] = {}
    for a, b in combinations(range(len(real)), 2):
        if real[a].numeric and real[b].numeric:
            one, other = (correlation(_numbers(side[a]), _numbers(side[b])) for side in (real, fake))
            value = 1 - abs(one - other) / 2
        else:
            one, other = (joint(side[a], side[b]) for side in codes)
            value = float(1 - np.abs(one - other).sum() / 2)
        found[real[a].name, real[b].name] = value
    return found


def _numbers(column: Values) -> Floats:
    return column.values.astype(np.float64)
