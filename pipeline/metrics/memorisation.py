"""Memorisation: are samples nearer to training examples than real examples unseen in training are?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.metrics._neighbours import BLOCK, centred, nearest
from pipeline.metrics._shared import fewer
from pipeline.settings import Settings


class Config(Settings):
    """What counts as typical, and a bound on the quadratic cost."""

    quantile: float = Field(default=0.5, gt=0, lt=1, description="of the holdout's distances; 0.5 = their median")
    limit: int = Field(default=10_000, ge=8, description="at most this many samples and holdout examples")


class Metric(contract.Metric[Config]):
    """The fraction of samples nearer to train than the holdout typically is, the holdout as control.

    Samples spread as the holdout give `quantile`; a generator that copies gives 1. Beside it the
    ratio of the median distances: 1 when spread alike, 0 for copies.
    """

    needs = frozenset({"features", "holdout"})
    aliases = ("memorization",)
    neighbours = True

    def compute(self, statistics: Statistics) -> list[Score]:
        if statistics.holdout is None:
            raise RuntimeError("memorisation was asked for without a holdout")
        limit, seed = self.config.limit, statistics.seed
        real = statistics.real.rows()
        fake = statistics.fake.some(limit, seed, "memorisation/fake")
        holdout = statistics.holdout.some(limit, 0, "memorisation/holdout")
        fraction, ratio = memorisation(real, fake, holdout, self.config.quantile)
        control = f"{len(holdout)} holdout examples give {self.config.quantile:.2f}"
        medians = "median distance to the nearest train example, samples over holdout; copies give 0"
        warnings = fewer(len(fake), statistics.fake, "samples") + fewer(len(real), statistics.real, "reals")
        told: dict[str, Any] = {"warnings": warnings, "settings": self.config.model_dump(mode="json")}
        return [
            Score("memorisation", fraction, len(real), len(fake), "train", f"{control}; copies give 1", **told),
            Score("nearest_train_ratio", ratio, len(real), len(fake), "train", medians, **told),
        ]


def memorisation(
    real: NDArray[Any], fake: NDArray[Any], holdout: NDArray[Any], quantile: float = 0.5, block: int = BLOCK
) -> tuple[float, float]:
    """(fraction of fakes strictly nearer to `real` than the holdout's quantile, ratio of medians)."""
    reals, fakes, held_out = centred(real, fake, holdout)
    of_fake, _ = nearest(fakes, reals, block)
    of_holdout, _ = nearest(held_out, reals, block)
    typical = float(np.quantile(of_holdout, quantile))
    middle = float(np.median(of_holdout))
    ratio = float(np.median(of_fake)) / middle if middle > 0 else 1.0
    return float((of_fake < typical).mean()), ratio
