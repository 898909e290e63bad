"""One side of a measurement, seen block by block: what the metrics look at is kept, the rest is summed or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.metric import AnyMetric, Side
from pipeline.contract.moments import Moments
from pipeline.contract.predictions import Predictions, log_softmax
from pipeline.randomness import choose, shuffled


@dataclass(frozen=True)
class CollectionPlan:
    """What is kept of `count` rows.

    rows: how many rows of features are kept, chosen by the seed. splits: parts of the class probabilities, over a
    shuffled order or as they come. head: how many of the first rows have moments of their own.
    """

    count: int
    rows: int = 0
    splits: int = 1
    shuffle: bool = False
    head: int = 0


def planned(metrics: Sequence[AnyMetric], count: int, head: int = 0) -> CollectionPlan:
    """What these metrics together want of `count` samples."""
    return CollectionPlan(
        count,
        rows=min(max((metric.rows for metric in metrics), default=0), count),
        splits=min(max((metric.splits for metric in metrics), default=1), count),
        shuffle=any(metric.shuffle for metric in metrics),
        head=min(head, count),
    )


class FeatureAccumulator:
    """Takes blocks in order and becomes a Side; float32 rows kept: at most `plan.rows`, whatever the count."""

    def __init__(self, plan: CollectionPlan, seed: int) -> None:
        self.plan = plan
        whole = plan.rows >= plan.count
        self._kept = np.arange(plan.count) if whole else choose(plan.count, plan.rows, seed, "features/kept")
        self._all = whole
        self._order = np.argsort(shuffled(plan.count, seed, "inception_score/order")) if plan.shuffle else None
        self._features: NDArray[np.float32] | None = None
        self._moments: Moments | None = None
        self._head: Moments | None = None
        self._predictions: Predictions | None = None
        self._labels = np.full(plan.count, -1, dtype=np.int64)
        self._at = 0

    def take(self, features: NDArray[Any], logits: NDArray[Any] | None, labels: NDArray[np.int64] | None) -> None:
        """The next rows: features (k, d), logits (k, classes), labels (k,)."""
        begin, end = self._at, self._at + len(features)
        if end > self.plan.count:
            raise RuntimeError(f"{self.plan.count} rows were planned, and more came")
        if self._moments is None:
            self._moments, self._head = Moments.empty(features.shape[1]), Moments.empty(features.shape[1])
            self._features = np.empty((len(self._kept), features.shape[1]), dtype=np.float32)
        self._moments.update(features)
        if self._head is not None and begin < self.plan.head:
            self._head.update(features[: self.plan.head - begin])
        if self._features is not None and len(self._kept):
            first, last = np.searchsorted(self._kept, [begin, end])
            self._features[first:last] = features[self._kept[first:last] - begin]
        if labels is not None:
            self._labels[begin:end] = labels
        if logits is not None:
            if self._predictions is None:
                self._predictions = Predictions.empty(logits.shape[1], self.plan.splits, self.plan.count)
            self._predictions.take(begin, log_softmax(np.asarray(logits, dtype=np.float64)), self._order)
        self._at = end

    def side(self) -> Side:
        """What was seen, once all has come."""
        if self._at != self.plan.count:
            raise RuntimeError(f"{self.plan.count} rows were planned, and {self._at} came")
        return Side(
            moments=self._moments,
            features=self._features if self.plan.rows else None,
            predictions=self._predictions,
            labels=self._labels,
            kept=None if self._all else self._kept,
            head=self._head if self.plan.head else None,
        )
