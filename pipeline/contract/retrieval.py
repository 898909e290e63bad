"""Retrieval: how often what is right stands among the first, and how often it would by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def recall(scores: NDArray[np.float64], right: NDArray[np.bool_], rank: int) -> float:
    """The share of rows (n, K) with a right one among the `rank` largest; rows without a right one are left out."""
    rows = right.any(axis=1)
    best = np.argsort(-scores[rows], axis=1, kind="stable")[:, :rank]
    return float(np.take_along_axis(right[rows], best, axis=1).any(axis=1).mean()) if rows.any() else 0.0


def chance(right: NDArray[np.bool_], rank: int) -> float:
    """What `recall` is on average where scores say nothing."""
    own = right.sum(axis=1)
    own = own[own > 0].astype(np.float64)
    missed = np.ones_like(own)
    for taken in range(min(rank, right.shape[1])):
        missed *= np.maximum(right.shape[1] - own - taken, 0) / (right.shape[1] - taken)
    return float((1 - missed).mean()) if len(own) else 0.0
