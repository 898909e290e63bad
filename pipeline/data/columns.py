"""Rows of a table and the numbers that stand for them: one-hot categories, and numbers of mean 0 and deviation 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Column

Value = str | float | int


def numeric(name: str, values: NDArray[np.float64]) -> Column:
    """A numeric column of these values; sums are exact, so that no order of the rows changes a digit."""
    count = max(1, len(values))
    mean = math.fsum(values) / count
    std = math.sqrt(math.fsum(np.square(values - mean)) / count)
    return Column(name, mean=mean, std=std or 1.0, whole=bool((values == np.trunc(values)).all()))


def encoded(row: Sequence[Value], columns: Sequence[Column]) -> NDArray[np.float32]:
    """float32 (F,) of one row: a text of its categories, or a number, for each column.

    Raises:
        ValueError: if a text is not one of the categories.
    """
    found = np.zeros(sum(column.width for column in columns), dtype=np.float32)
    place = 0
    for value, column in zip(row, columns, strict=True):
        if column.categories:
            found[place + column.categories.index(str(value))] = 1
        else:
            found[place] = (float(value) - column.mean) / column.std
        place += column.width
    return found


def rows(x: NDArray[np.float32], columns: Sequence[Column]) -> list[tuple[Value, ...]]:
    """The rows that (n, F) numbers stand for: of a category the largest, of whole numbers the nearest."""
    held: list[list[Value]] = []
    place = 0
    for column in columns:
        mine = np.asarray(x[:, place : place + column.width], dtype=np.float64)
        place += column.width
        if column.categories:
            held.append([column.categories[number] for number in mine.argmax(axis=1).tolist()])
            continue
        values = (mine[:, 0] * column.std + column.mean).tolist()
        held.append([round(value) if column.whole and math.isfinite(value) else value for value in values])
    return list(zip(*held, strict=True))
