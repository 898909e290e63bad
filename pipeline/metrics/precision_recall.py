"""Precision and recall by manifolds of k-nearest-neighbour balls (Kynkäänniemi et al. 2019), and their F1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.metrics._shared import (
    DISTANCE_BUDGET,
    Floats,
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

    k: int = Field(default=3, ge=1, description="the neighbour whose distance is a ball's radius")
    limit: int = Field(default=10_000, ge=8, description="at most so many of either side, chosen by the seed")


class Metric:
    """Equal numbers on both sides, as the paper: min(train, samples, limit) of each."""

    needs: frozenset[Need] = frozenset({"features"})

    def __init__(self, config: Config) -> None:
        self.config = config

    def compute(self, statistics: Statistics) -> list[Score]:
        k = self.config.k
        count = min(len(statistics.real), len(statistics.fake), self.config.limit)
        real = statistics.real.subset(count, 0, "precision_recall/real").rows()
        fake = statistics.fake.subset(count, statistics.seed, "precision_recall/fake").rows()
        precision, recall = precision_recall(real, fake, k)
        note = f"k={k}, equal n"
        if count < len(statistics.real):
            note += f", {count} of {len(statistics.real)} train examples"
        values = {"precision": precision, "recall": recall, "f1": f1(precision, recall)}
        return [Score(name, value, count, count, "train", note) for name, value in values.items()]


def precision_recall(
    real: NDArray[Any], fake: NDArray[Any], k: int, budget: int = DISTANCE_BUDGET
) -> tuple[float, float]:
    """The fraction of fakes inside the reals' manifold, and of reals inside the fakes'.

    Memory: `budget` float64 numbers at a time, whatever n.

    Raises:
        ValueError: unless either side has more than k rows.
    """
    real, fake = centred(real, fake)
    real_radii, fake_radii = kth_neighbour(real, k, budget), kth_neighbour(fake, k, budget)
    return covered(fake, real, real_radii, budget), covered(real, fake, fake_radii, budget)


def covered(points: Floats, centres: Floats, radii: Floats, budget: int = DISTANCE_BUDGET) -> float:
    """The fraction of points that lie within any centre's ball of squared radius `radii`."""
    inside = 0
    for rows in spans(len(points), len(centres), budget):
        inside += int((squared_distances(points[rows], centres) <= radii).any(axis=1).sum())
    return inside / len(points)


def f1(precision: float, recall: float) -> float:
    """The harmonic mean; 0 where both are."""
    return float(2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny))
