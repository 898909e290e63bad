"""Density and coverage (Naeem et al. 2020): precision and recall that outliers trouble less."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.errors import UserError
from pipeline.metrics._neighbours import BLOCK, centred, holding, kth_neighbour
from pipeline.metrics._shared import fewer
from pipeline.settings import Settings


class Config(Settings):
    """The paper's k, and a bound on the quadratic cost."""

    k: int = Field(default=5, ge=1, description="the neighbour whose distance is a ball's radius")
    limit: int = Field(default=10_000, ge=8, description="maximum number of rows per side, chosen by the seed")


class Metric(contract.Metric[Config]):
    """Every row of either side up to the limit."""

    needs = frozenset({"features"})
    aliases = ("density", "coverage")
    neighbours = True

    def compute(self, statistics: Statistics) -> list[Score]:
        k, limit = self.config.k, self.config.limit
        real = statistics.real.some(limit, 0, "neighbours/real")
        fake = statistics.fake.some(limit, statistics.seed, "neighbours/fake")
        if len(real) <= k:
            raise UserError(f"neighbours at k = {k} need more than {k} reals, and here are {len(real)}")
        density, coverage = density_coverage(real, fake, k)
        warnings = fewer(len(real), statistics.real, "reals") + fewer(len(fake), statistics.fake, "samples")
        values = {"density": density, "coverage": coverage}
        told: dict[str, Any] = {"note": f"k={k}", "warnings": warnings, "settings": self.config.model_dump(mode="json")}
        return [Score(name, value, len(real), len(fake), statistics.split, **told) for name, value in values.items()]


def density_coverage(real: NDArray[Any], fake: NDArray[Any], k: int, block: int = BLOCK) -> tuple[float, float]:
    """Density: how many reals' balls hold a fake, on average, over k. Coverage: the fraction of balls that hold any.

    Raises:
        ValueError: unless there are more than k reals.
    """
    reals, fakes = centred(real, fake)
    held, _ = holding(reals, kth_neighbour(reals, k, block), fakes, block)
    return float(held.sum()) / (k * len(fakes)), float((held > 0).mean())
