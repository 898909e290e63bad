"""Rows of a table as its columns: numbers with NaN where one is missing, and places in lists of categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.metric import Side
from pipeline.metrics._shared import Floats
from pipeline.types import Column

BINS = 10
"""Into which a numeric column is cut where it stands beside one of categories, as SDMetrics does."""

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Values:
    """One column's values (n,). categories: 0 where they are numbers, else how many there are."""

    name: str
    values: Floats | Codes
    categories: int = 0

    @property
    def numeric(self) -> bool:
        """Whether they are numbers."""
        return self.categories == 0


def decoded(x: NDArray[np.floating], columns: Sequence[Column]) -> list[Values]:
    """The columns that (n, F) numbers stand for, as they would be written: rounded, and of a category the largest."""
    found: list[Values] = []
    place = 0
    for column in columns:
        mine = np.asarray(x[:, place : place + column.width], dtype=np.float64)
        place += column.width
        if column.categories:
            found.append(Values(column.name, mine.argmax(axis=1).astype(np.int64), len(column.categories)))
            continue
        values = mine[:, 0] * column.std + column.mean
        if column.whole or column.decimals is not None:
            values = np.round(values, 0 if column.whole else column.decimals or 0)
        if column.masked:
            values = np.where(mine[:, 1] > 0.5, np.nan, values)
        found.append(Values(column.name, values))
    return found


def sided(side: Side, columns: Sequence[Column], classes: int = 0) -> list[Values]:
    """`decoded` rows of a side; with its labels as one more column, `class`, where `classes` is above 0."""
    found = decoded(side.rows(), columns)
    labels = side.row_labels()
    if classes and labels is not None:
        found.append(Values("class", labels.astype(np.int64), classes))
    return found


def written(columns: Sequence[Values]) -> NDArray[np.float64]:
    """The rows (n, columns) by which copies are known: equal rows have equal numbers; NaN stands as infinity."""
    return np.stack([np.nan_to_num(each.values.astype(np.float64), nan=np.inf) for each in columns], axis=1)


def shares(codes: Codes, categories: int) -> Floats:
    """How often each category occurs (categories,)."""
    return np.bincount(codes, minlength=categories) / max(1, len(codes))


def edges_of(real: Floats) -> Floats:
    """The edges between bins of equal width over the real values; the outer ones at infinity."""
    known = real[~np.isnan(real)]
    edges = np.histogram_bin_edges(known, BINS) if len(known) else np.zeros(BINS + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    return edges


def binned(column: Values, edges: Floats) -> tuple[Codes, int]:
    """A numeric column as codes of its bins, the missing ones last; others as they are."""
    if not column.numeric:
        return column.values.astype(np.int64), column.categories
    return np.digitize(column.values, edges).astype(np.int64), len(edges) + 1


def joint(first: tuple[Codes, int], second: tuple[Codes, int]) -> Floats:
    """How often each pair of categories occurs, flat."""
    return shares(first[0] * second[1] + second[0], first[1] * second[1])


def correlation(first: Floats, second: Floats) -> float:
    """Pearson's, over the rows that have both; NaN where a column is constant."""
    known = ~(np.isnan(first) | np.isnan(second))
    one, other = first[known], second[known]
    if len(one) < 2 or one.min() == one.max() or other.min() == other.max():
        return float("nan")
    one, other = one - one.mean(), other - other.mean()
    return float((one @ other) / np.sqrt((one @ one) * (other @ other)))
