"""Privacy of records: do samples lie nearer to single training rows than rows that were held out do?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.metrics._neighbours import centred, nearest, squared_distances
from pipeline.metrics._shared import fewer
from pipeline.metrics._tables import decoded, written
from pipeline.settings import Settings


class Config(Settings):
    """A bound on the quadratic cost, and from which share of copies on a record warns."""

    limit: int = Field(default=5_000, ge=8, description="at most this many rows of either side")
    copies: float = Field(default=0.01, ge=0, le=1, description="share of copies above the holdout's that is warned of")


class Metric(contract.Metric[Config]):
    """Three numbers, each with the holdout as control.

    distance_ratio: the median over samples of the distance to the nearest training row over that to the second nearest,
    0 for copies, near 1 where no row stands out. membership_advantage: the largest difference between the shares of
    training and of held-out rows that a sample lies nearer to than some distance: what an attacker who sees only
    samples gains by it (Yeom et al. 2018), 0 at best, 1 at worst. copied_rows: the share of samples that equal a
    training row in every column as it is written.
    """

    needs = frozenset({"features", "holdout", "columns"})
    aliases = ("privacy",)
    neighbours = True

    def compute(self, statistics: Statistics) -> list[Score]:
        if statistics.holdout is None:
            raise RuntimeError("record_privacy was asked for without a holdout")
        limit, seed = self.config.limit, statistics.seed
        fake = statistics.fake.some(limit, seed, "record_privacy/fake")
        train = statistics.real.some(limit, 0, "record_privacy/real")
        holdout = statistics.holdout.some(limit, 0, "record_privacy/holdout")
        told: dict[str, Any] = {"settings": self.config.model_dump(mode="json")}
        some = fewer(len(fake), statistics.fake, "samples") + fewer(len(train), statistics.real, "reals")
        ratio, control = (distance_ratio(rows, train) for rows in (fake, holdout))
        advantage = membership_advantage(train, holdout, fake)
        mine, theirs = (self._copied(rows, statistics) for rows in (fake, holdout))
        copied = mine - theirs > self.config.copies
        warning = (f"more than the {theirs:.2%} of held-out rows that do: suspect copying",) if copied else ()
        sizes = (len(train), len(fake), "train")
        whole = (len(statistics.real.rows()), len(fake), "train")
        equal = f"of held-out rows {theirs:.4f} equal a training row"
        fewer_fakes = fewer(len(fake), statistics.fake, "samples")
        return [
            Score("distance_ratio", ratio, *sizes, f"held-out rows give {control:.3f}", warnings=some, **told),
            Score("membership_advantage", advantage, *sizes, "0: samples tell nothing", warnings=some, **told),
            Score("copied_rows", mine, *whole, equal, warnings=(*fewer_fakes, *warning), **told),
        ]

    def _copied(self, rows: NDArray[Any], statistics: Statistics) -> float:
        columns = statistics.columns
        train = written(decoded(statistics.real.rows(), columns))
        return copied_rows(written(decoded(rows, columns)), train)


def distance_ratio(rows: NDArray[Any], train: NDArray[Any]) -> float:
    """The median over rows of d₁/d₂, distances to the nearest and the second nearest of `train`; 0 of a copy."""
    near, far = centred(train, rows)
    found = np.empty(len(rows))
    for mine, block in far.blocks():
        two = np.full((len(block), 2), np.inf)
        for _, others in near.blocks():
            both = np.concatenate([two, squared_distances(block, others)], axis=1)
            two = np.partition(both, 1, axis=1)[:, :2]
        found[mine] = np.sqrt(np.divide(two[:, 0], two[:, 1], out=np.zeros(len(two)), where=two[:, 1] > 0))
    return float(np.median(found))


def membership_advantage(train: NDArray[Any], holdout: NDArray[Any], fake: NDArray[Any]) -> float:
    """max over r of P(a sample within r | training row) − P(a sample within r | held-out row), at least 0."""
    samples, members, others = centred(fake, train, holdout)
    of_members, _ = nearest(members, samples)
    of_others, _ = nearest(others, samples)
    radii = np.concatenate([of_members, of_others])
    first, second = (
        np.searchsorted(np.sort(each), radii, side="right") / len(each) for each in (of_members, of_others)
    )
    return max(0.0, float((first - second).max()))


def copied_rows(rows: NDArray[np.float64], train: NDArray[np.float64]) -> float:
    """The share of rows that equal one of `train` in every column."""
    known = {row.tobytes() for row in np.ascontiguousarray(train)}
    return float(np.mean([row.tobytes() in known for row in np.ascontiguousarray(rows)]))
