"""Statistics of features: what a Fréchet distance compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import UserError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """Foreign statistics: a mean (d,) and a covariance (d, d), and where they are from; count may be unknown."""

    mean: Floats
    covariance: Floats
    count: int | None
    source: str
    sha256: str

    @property
    def dimension(self) -> int:
        return len(self.mean)


@dataclass
class Moments:
    """Mergeable float64 statistics of features: count, Σx (d,) and Σxxᵀ (d, d)."""

    count: int
    sum: Floats
    outer: Floats

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    @classmethod
    def of(cls, features: ArrayLike, chunk: int = 4096) -> Moments:
        """The moments of features (n, d), `chunk` rows at a time."""
        rows = np.asarray(features)
        found = cls.empty(rows.shape[1])
        for begin in range(0, len(rows), chunk):
            found.update(rows[begin : begin + chunk])
        return found

    def update(self, features: ArrayLike) -> None:
        """Take in more features (n, d)."""
        rows = np.asarray(features, dtype=np.float64)
        self.count += len(rows)
        self.sum += rows.sum(axis=0)
        self.outer += rows.T @ rows

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets together; neither is changed."""
        return Moments(self.count + other.count, self.sum + other.sum, self.outer + other.outer)

    @property
    def dimension(self) -> int:
        return len(self.sum)

    @property
    def mean(self) -> Floats:
        if self.count < 1:
            raise UserError("a mean needs at least one example; there is none")
        return self.sum / self.count

    @property
    def covariance(self) -> Floats:
        """Unbiased (n − 1), as np.cov of the rows.

        Raises:
            UserError: for fewer than two rows.
        """
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 examples, and here is {self.count}")
        mean = self.mean
        found = (self.outer - self.count * np.outer(mean, mean)) / (self.count - 1)
        return (found + found.T) / 2
