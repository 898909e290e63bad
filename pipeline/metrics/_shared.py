"""What every metric shares: the statistics it is given, the scores it gives, names, neighbours in chunks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import randomness
from pipeline.formats.reference import Moments

Floats = NDArray[np.float64]
Need = Literal["features", "moments", "logits", "labels", "holdout"]

# Rows of a distance matrix held at once are at most this many numbers (float64: 64 MB).
DISTANCE_BUDGET = 8_000_000


@dataclass(frozen=True)
class Side:
    """One set of examples or samples, as an extractor saw it.

    features (n, d); logits (n, classes) where the extractor classifies; labels (n,), -1 = none.
    """

    moments: Moments
    features: NDArray[Any] | None = None
    logits: NDArray[Any] | None = None
    labels: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        features: NDArray[Any],
        logits: NDArray[Any] | None = None,
        labels: NDArray[np.int64] | None = None,
    ) -> Side:
        return cls(Moments.of(features), features, logits, labels)

    def __len__(self) -> int:
        return self.moments.count

    def rows(self) -> NDArray[Any]:
        if self.features is None:
            raise RuntimeError("a metric asked for features it did not name in `needs`")
        return self.features

    def subset(self, count: int, seed: int, purpose: str) -> Side:
        """A seeded choice of `count` rows, in their order; all of them where there are no more."""
        if count >= len(self):
            return self
        index = choose(len(self), count, seed, purpose)
        return Side.of(
            self.rows()[index],
            None if self.logits is None else self.logits[index],
            None if self.labels is None else self.labels[index],
        )


@dataclass(frozen=True)
class Statistics:
    """What one repeat of a measurement holds: train, samples, the holdout, and who extracted them.

    conditional: the samples' `labels` are what the generator was asked for.
    """

    real: Side
    fake: Side
    holdout: Side | None
    extractor: str
    seed: int
    conditional: bool = False
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """One named value of one repeat; `note` says what a reader must know to judge it."""

    name: str
    value: float
    n_real: int
    n_fake: int
    split: Literal["train", "holdout"] | None = "train"
    note: str = ""


class Metric(Protocol):
    """A file in `metrics/` holds `Config` and a class `Metric`, pure maths in float64."""

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there; where it isn't (no logits, no labels), the metric is left out."""
        ...

    def compute(self, statistics: Statistics) -> list[Score]: ...


def one_blas_thread() -> AbstractContextManager[Any]:
    """NumPy's linear algebra on one thread inside: its last bits depend on the number, which Ray changes."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")


def reported_name(kind: Literal["frechet", "kernel", "score"], extractor: str) -> str:
    """The name a value is reported under: it says which features it was measured in."""
    return f"{kind}_{extractor}"


def shuffled(total: int, seed: int, purpose: str, *counters: int) -> NDArray[np.int64]:
    """A permutation of `total` positions, the same for the same key."""
    return torch.randperm(total, generator=randomness.generator(seed, purpose, *counters)).numpy()


def choose(total: int, count: int, seed: int, purpose: str, *counters: int) -> NDArray[np.int64]:
    """`count` of `total` positions without repeats, sorted: the same for the same key."""
    return np.sort(shuffled(total, seed, purpose, *counters)[:count])


def squared_distances(a: Floats, b: Floats) -> Floats:
    """‖aᵢ − bⱼ‖² as (len(a), len(b)), never negative."""
    found = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.maximum(found, 0.0, out=found)


def centred(*sets: NDArray[Any]) -> list[Floats]:
    """Float64 copies moved by the first set's mean: distances stay, cancellation shrinks."""
    mean = np.asarray(sets[0], dtype=np.float64).mean(axis=0)
    return [np.asarray(rows, dtype=np.float64) - mean for rows in sets]


def spans(rows: int, columns: int, budget: int = DISTANCE_BUDGET) -> list[slice]:
    """Slices of `rows` such that a slice × `columns` fits the budget."""
    size = max(1, budget // max(columns, 1))
    return [slice(begin, min(begin + size, rows)) for begin in range(0, rows, size)]


def kth_neighbour(points: Floats, k: int, budget: int = DISTANCE_BUDGET) -> Floats:
    """Squared distance of every point to its k-th nearest other point, (n,).

    Raises:
        ValueError: unless there are more than k points.
    """
    if len(points) <= k:
        raise ValueError(f"the {k}-th neighbour needs more than {k} points, and here are {len(points)}")
    radii = np.empty(len(points))
    for rows in spans(len(points), len(points), budget):
        found = squared_distances(points[rows], points)
        # A point is no neighbour of its own; a twin of it is one, at distance zero.
        found[np.arange(len(found)), np.arange(rows.start, rows.stop)] = np.inf
        radii[rows] = np.partition(found, k - 1, axis=1)[:, k - 1]
    return radii


def nearest(points: Floats, among: Floats, budget: int = DISTANCE_BUDGET) -> tuple[Floats, NDArray[np.int64]]:
    """Distance (n,) and position (n,) of each point's nearest in `among`; ties go to the first."""
    distance = np.empty(len(points))
    position = np.empty(len(points), dtype=np.int64)
    for rows in spans(len(points), len(among), budget):
        found = squared_distances(points[rows], among)
        position[rows] = found.argmin(axis=1)
        distance[rows] = np.sqrt(found[np.arange(len(found)), position[rows]])
    return distance, position
