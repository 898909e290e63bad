"""Precision and recall by manifolds of k-nearest-neighbour balls (Kynkäänniemi et al. 2019), and their F1."""

from __future__ import annotations

from typing import Any

import numpy as np
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

    k: int = Field(default=3, ge=1, description="the neighbour whose distance is a ball's radius")
    limit: int = Field(default=10_000, ge=8, description="maximum number of rows per side, chosen by the seed")


class Metric(contract.Metric[Config]):
    """Every row of either side up to the limit; unequal numbers are said, as the larger side covers more."""

    needs = frozenset({"features"})
    aliases = ("precision", "recall", "f1", "prc")
    neighbours = True

    def compute(self, statistics: Statistics) -> list[Score]:
        k, limit = self.config.k, self.config.limit
        real = statistics.real.some(limit, 0, "neighbours/real")
        fake = statistics.fake.some(limit, statistics.seed, "neighbours/fake")
        enough(k, real, fake)
        precision, recall = precision_recall(real, fake, k)
        warnings = fewer(len(real), statistics.real, "reals") + fewer(len(fake), statistics.fake, "samples")
        if len(real) != len(fake):
            warnings += (f"unequal numbers, {len(real):,} and {len(fake):,}: the larger side covers more",)
        values = {"precision": precision, "recall": recall, "f1": f1(precision, recall)}
        told: dict[str, Any] = {"note": f"k={k}", "warnings": warnings, "settings": self.config.model_dump(mode="json")}
        return [Score(name, value, len(real), len(fake), statistics.split, **told) for name, value in values.items()]


def enough(k: int, *sets: NDArray[Any]) -> None:
    """Refuse sets of no more than k rows.

    Raises:
        UserError: saying how many there are.
    """
    least = min(len(rows) for rows in sets)
    if least <= k:
        raise UserError(f"neighbours at k = {k} need more than {k} on either side, and one has {least}")


def precision_recall(real: NDArray[Any], fake: NDArray[Any], k: int, block: int = BLOCK) -> tuple[float, float]:
    """The fraction of fakes inside the reals' manifold, and of reals inside the fakes'.

    Memory: two blocks of rows and their distances, whatever n.

    Raises:
        ValueError: unless either side has more than k rows.
    """
    reals, fakes = centred(real, fake)
    _, covered = holding(reals, kth_neighbour(reals, k, block), fakes, block)
    _, recalled = holding(fakes, kth_neighbour(fakes, k, block), reals, block)
    return float(covered.mean()), float(recalled.mean())


def f1(precision: float, recall: float) -> float:
    """The harmonic mean; 0 where both are."""
    return float(2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny))
