"""What every metric shares: the statistics it is given, the scores it gives, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import randomness
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.errors import UserError
from pipeline.formats.moments import Gaussian, Moments
from pipeline.metrics._predictions import Predictions

Floats = NDArray[np.float64]
Need = Literal["features", "moments", "logits", "labels", "holdout"]
Kind = Literal["frechet", "kernel", "score"]

# What the field calls the three of the published network at its last pool, or its logits.
PUBLISHED: dict[Kind, str] = {"frechet": "fid", "kernel": "kid", "score": "inception_score"}
LAST_TAP = 2048


@dataclass(frozen=True)
class Side:
    """One set of examples or samples, as an extractor saw it.

    moments: of all of them; None where there are predictions alone. features (m, d): those rows that
    the metrics asked for, `kept` (m,) their positions, None = all. predictions: what a classifier made
    of all of them. labels (n,): -1 = none. head: the moments of the first of them, for comparisons at
    a smaller number.
    """

    moments: Moments | Gaussian | None
    features: NDArray[Any] | None = None
    predictions: Predictions | None = None
    labels: NDArray[np.int64] | None = None
    kept: NDArray[np.int64] | None = None
    head: Moments | None = None

    @classmethod
    def of(
        cls,
        features: NDArray[Any],
        logits: NDArray[Any] | None = None,
        labels: NDArray[np.int64] | None = None,
        splits: int = 1,
    ) -> Side:
        """A set that is whole in memory, or mapped into it."""
        predictions = None if logits is None else Predictions.of(logits, splits)
        return cls(Moments.of(features), features, predictions, labels)

    @property
    def count(self) -> int | None:
        """How many there are; None where foreign statistics don't tell."""
        if self.moments is not None:
            return self.moments.count
        return len(self.predictions) if self.predictions is not None else None

    def __len__(self) -> int:
        return self.count or 0

    def rows(self) -> NDArray[Any]:
        """The features that were kept, (m, d)."""
        if self.features is None:
            raise UserError("a metric of single features was asked of statistics alone; give images or features (.npy)")
        return self.features

    def gaussian(self) -> Moments | Gaussian:
        """Mean and covariance of all."""
        if self.moments is None:
            raise UserError("a metric of features was asked of class predictions alone")
        return self.moments

    def row_labels(self) -> NDArray[np.int64] | None:
        """The labels of `rows()`."""
        return self.labels if self.labels is None or self.kept is None else self.labels[self.kept]

    def some(self, count: int, seed: int, purpose: str) -> NDArray[Any]:
        """A seeded choice of `count` kept rows, in their order; all of them where there are no more."""
        rows = self.rows()
        return rows if count >= len(rows) else rows[choose(len(rows), count, seed, purpose)]


@dataclass(frozen=True)
class Statistics:
    """What one repeat of a measurement holds: reals, samples, the holdout, and who extracted them.

    conditional: the samples' `labels` are what the generator was asked for. split: of shards, that the
    reals are; None where they are something else.
    """

    real: Side
    fake: Side
    holdout: Side | None
    extractor: ExtractorIdentity
    seed: int
    conditional: bool = False
    classes: tuple[str, ...] = ()
    split: Literal["train", "holdout"] | None = "train"


@dataclass(frozen=True)
class Score:
    """One named value of one repeat; `note` says what a reader must know to judge it.

    spread: of the parts that the metric averages, in one repeat. n_real, n_fake: how many of either
    side it looked at; 0 = the side plays no part. warnings: what makes it less than it seems.
    """

    name: str
    value: float
    n_real: int | None
    n_fake: int | None
    split: Literal["train", "holdout"] | None = "train"
    note: str = ""
    spread: float | None = None
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: {})


class Metric(Protocol):
    """A file in `metrics/` holds `Config` and a class `Metric`, pure maths in float64."""

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there; where it isn't (no logits, no labels), the metric is left out."""
        ...

    @property
    def rows(self) -> int:
        """Of how many samples, at most, it looks at the features themselves: 0 = at moments or predictions alone."""
        ...

    def compute(self, statistics: Statistics) -> list[Score]: ...


def one_blas_thread() -> AbstractContextManager[Any]:
    """NumPy's linear algebra on one thread inside: its last bits depend on the number, which Ray changes."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")


def reported_name(kind: Kind, extractor: ExtractorIdentity) -> str:
    """The name a value is reported under: it says which features it was measured in.

    `fid`, `kid` and `inception_score` are the published Inception network's alone, `fid_768` its at
    tap 768; of any other network, or with other weights, it is `frechet_<extractor>` and so on.
    """
    if extractor.name != "inception" or not extractor.published:
        return f"{kind}_{extractor.name}"
    return PUBLISHED[kind] if extractor.tap == LAST_TAP else f"{PUBLISHED[kind]}_{extractor.tap}"


def shuffled(total: int, seed: int, purpose: str, *counters: int) -> NDArray[np.int64]:
    """A permutation of `total` positions, the same for the same key."""
    return torch.randperm(total, generator=randomness.generator(seed, purpose, *counters)).numpy()


def choose(total: int, count: int, seed: int, purpose: str, *counters: int) -> NDArray[np.int64]:
    """`count` of `total` positions without repeats, sorted: the same for the same key."""
    return np.sort(shuffled(total, seed, purpose, *counters)[:count])


def fewer(used: int, side: Side, what: str) -> tuple[str, ...]:
    """A warning where only `used` of a side were looked at."""
    return () if used >= len(side) else (f"{used:,} of {len(side):,} {what}, chosen by the seed",)
