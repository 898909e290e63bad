"""Nearest neighbours in blocks: whatever n, memory is two blocks of rows in float64 and their distances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A block has at most BLOCK rows, so that it takes BLOCK · d · 8 bytes (32 MB at 2048-d) and a table of
# distances 32 MB. Sets of float32 rows, mapped from disk or not, are never copied whole.
BLOCK = 2048


def spans(rows: int, block: int = BLOCK) -> list[slice]:
    """Consecutive slices of at most `block` rows."""
    return [slice(begin, min(begin + block, rows)) for begin in range(0, rows, block)]


def squared_distances(a: Floats, b: Floats) -> Floats:
    """‖aᵢ − bⱼ‖² as (len(a), len(b)), never negative."""
    found = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.maximum(found, 0.0, out=found)


class Points:
    """Rows (n, d), read a block at a time as float64 less `centre`: distances stay, cancellation shrinks."""

    def __init__(self, rows: NDArray[Any], centre: Floats) -> None:
        self.rows = rows
        self.centre = centre

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, block: int = BLOCK) -> Iterator[tuple[slice, Floats]]:
        """Each slice of rows with its numbers."""
        for rows in spans(len(self.rows), block):
            yield rows, np.asarray(self.rows[rows], dtype=np.float64) - self.centre


def centred(*sets: NDArray[Any]) -> list[Points]:
    """Each set less the first one's mean."""
    total = np.zeros(sets[0].shape[1])
    for rows in spans(len(sets[0])):
        total += np.asarray(sets[0][rows], dtype=np.float64).sum(axis=0)
    return [Points(rows, total / max(len(sets[0]), 1)) for rows in sets]


def kth_neighbour(points: Points, k: int, block: int = BLOCK) -> Floats:
    """Squared distance of every point to its k-th nearest other point, (n,).

    Raises:
        ValueError: unless there are more than k points.
    """
    if len(points) <= k:
        raise ValueError(f"the {k}-th neighbour needs more than {k} points, and here are {len(points)}")
    radii = np.empty(len(points))
    for rows, mine in points.blocks(block):
        least = np.full((len(mine), k), np.inf)
        for columns, others in points.blocks(block):
            found = squared_distances(mine, others)
            if columns.start == rows.start:
                # A point is no neighbour of its own; a twin of it is one, at distance zero.
                np.fill_diagonal(found, np.inf)
            least = np.partition(np.concatenate([least, found], axis=1), k - 1, axis=1)[:, :k]
        radii[rows] = least.max(axis=1)
    return radii


def nearest(points: Points, among: Points, block: int = BLOCK) -> tuple[Floats, NDArray[np.int64]]:
    """Distance (n,) and position (n,) of each point's nearest in `among`; ties go to the first."""
    distance = np.full(len(points), np.inf)
    position = np.zeros(len(points), dtype=np.int64)
    for rows, mine in points.blocks(block):
        for columns, others in among.blocks(block):
            found = squared_distances(mine, others)
            closest = found.argmin(axis=1)
            least = found[np.arange(len(found)), closest]
            better = least < distance[rows]
            position[rows] = np.where(better, closest + columns.start, position[rows])
            distance[rows] = np.where(better, least, distance[rows])
    return np.sqrt(distance), position


def holding(
    centres: Points, radii: Floats, points: Points, block: int = BLOCK
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How many of `points` lie in each centre's ball of squared radius `radii` (n,), and which lie in any (m,)."""
    held = np.zeros(len(centres), dtype=np.int64)
    inside = np.zeros(len(points), dtype=np.bool_)
    for rows, mine in centres.blocks(block):
        for columns, others in points.blocks(block):
            within = squared_distances(mine, others) <= radii[rows, None]
            held[rows] += within.sum(axis=1)
            inside[columns] |= within.any(axis=0)
    return held, inside
