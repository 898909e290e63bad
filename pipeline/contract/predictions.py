"""What a classifier made of a set, in memory that does not grow with it: sums of probabilities, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def boundaries(total: int, splits: int) -> NDArray[np.int64]:
    """Where each of `splits` consecutive parts of `total` rows begins, and the end, (splits + 1,)."""
    return np.arange(splits + 1, dtype=np.int64) * total // splits


@dataclass
class Predictions:
    """Mergeable sums over `splits` parts of rows p (classes,), all in float64.

    counts (splits,); marginals Σp (splits, classes); negentropies Σ p·log p (splits,); recognised
    (n,): each row's most probable class.
    """

    counts: NDArray[np.int64]
    marginals: Floats
    negentropies: Floats
    recognised: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int, splits: int, total: int) -> Predictions:
        """Room for `total` rows."""
        sums = np.zeros((splits, classes)), np.zeros(splits)
        return cls(np.zeros(splits, dtype=np.int64), *sums, np.full(total, -1, dtype=np.int64))

    @classmethod
    def of(
        cls,
        logits: NDArray[Any],
        splits: int = 1,
        *,
        probabilities: bool = False,
        chunk: int = 1024,
        order: NDArray[np.int64] | None = None,
    ) -> Predictions:
        """Of logits, or probabilities, (n, classes); `splits` consecutive parts of `order`, as `take` has it."""
        found = cls.empty(logits.shape[1], splits, len(logits))
        for begin in range(0, len(logits), chunk):
            rows = np.asarray(logits[begin : begin + chunk], dtype=np.float64)
            found.take(begin, normalised(rows) if probabilities else log_softmax(rows), order)
        return found

    def __len__(self) -> int:
        return len(self.recognised)

    @property
    def classes(self) -> int:
        return self.marginals.shape[1]

    def take(self, begin: int, log_p: Floats, order: NDArray[np.int64] | None = None) -> None:
        """Take in rows `begin` … of log p (k, classes); `order` (n,): the place of each row, where not its own."""
        rows = np.arange(begin, begin + len(log_p))
        self.recognised[rows] = log_p.argmax(axis=1)
        edges = boundaries(len(self.recognised), len(self.counts))
        part = np.searchsorted(edges, rows if order is None else order[rows], side="right") - 1
        p = np.exp(log_p)
        # Where p is 0, p·log p is 0: the limit, not a NaN.
        terms = np.where(p > 0, p * np.where(p > 0, log_p, 0.0), 0.0).sum(axis=1)
        for index in np.unique(part):
            chosen = part == index
            self.counts[index] += int(chosen.sum())
            self.marginals[index] += p[chosen].sum(axis=0)
            self.negentropies[index] += terms[chosen].sum()

    def scores(self) -> Floats:
        """exp E KL(p(y|x) ‖ p(y)) of each part: the mean of Σ p·log p less the marginal's own."""
        marginal = self.marginals / self.counts[:, None]
        own = np.where(marginal > 0, marginal * np.log(np.maximum(marginal, np.finfo(np.float64).tiny)), 0.0)
        return np.exp(self.negentropies / self.counts - own.sum(axis=1))


def log_softmax(logits: Floats) -> Floats:
    """Log probabilities (n, classes)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def normalised(probabilities: Floats) -> Floats:
    """Log probabilities of rows that sum to 1 but for rounding."""
    with np.errstate(divide="ignore"):
        return np.log(probabilities / probabilities.sum(axis=1, keepdims=True))


def are_probabilities(rows: NDArray[Any], chunk: int = 1024) -> bool:
    """Whether all rows of a table look like probabilities rather than logits."""
    for begin in range(0, len(rows), chunk):
        some = np.asarray(rows[begin : begin + chunk], dtype=np.float64)
        if not bool((some >= 0).all() and (np.abs(some.sum(axis=1) - 1) < 1e-3).all()):
            return False
    return True
