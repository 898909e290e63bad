"""Density and coverage (Naeem et al. 2020): precision and recall that outliers trouble less."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from pipeline.metrics._shared import (
    DISTANCE_BUDGET,
    Need,
    Score,
    Statistics,
    centred,
    kth_neighbour,
    spans,
    squared_distances,
)
from pipeline.settings import Settings


class Config(Settings):
    """The paper's k, and a bound on the quadratic cost."""

    k: int = Field(default=5, ge=1, description="the neighbour whose distance is a ball's radius")
    limit: int = Field(default=10_000, ge=8, description="at most so many of either side, chosen by the seed")


class Metric:
    """Equal numbers on both sides: min(train, samples, limit) of each."""

    needs: frozenset[Need] = frozenset({"features"})

    def __init__(self, config: Config) -> None:
        self.config = config

    def compute(self, statistics: Statistics) -> list[Score]:
        k = self.config.k
        count = min(len(statistics.real), len(statistics.fake), self.config.limit)
        real = statistics.real.subset(count, 0, "density_coverage/real").rows()
        fake = statistics.fake.subset(count, statistics.seed, "density_coverage/fake").rows()
        density, coverage = density_coverage(real, fake, k)
        note = f"k={k}, equal n"
        if count < len(statistics.real):
            note += f", {count} of {len(statistics.real)} train examples"
        values = {"density": density, "coverage": coverage}
        return [Score(name, value, count, count, "train", note) for name, value in values.items()]


def density_coverage(
    real: NDArray[Any], fake: NDArray[Any], k: int, budget: int = DISTANCE_BUDGET
) -> tuple[float, float]:
    """Density: how many reals' balls hold a fake, on average, over k. Coverage: the fraction of balls that hold any.

    Raises:
        ValueError: unless there are more than k reals.
    """
    real, fake = centred(real, fake)
    radii = kth_neighbour(real, k, budget)
    held = 0
    balls = 0
    for rows in spans(len(real), len(fake), budget):
        inside = squared_distances(real[rows], fake) <= radii[rows, None]
        held += int(inside.sum())
        balls += int(inside.any(axis=1).sum())
    return held / (k * len(fake)), balls / len(real)
