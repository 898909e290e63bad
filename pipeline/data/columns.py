"""Rows of a table and the numbers that stand for them: one-hot categories, and numbers of mean 0 and deviation 1."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Column, DataSpec

Value = str | float | int

WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"})
"""Names that YAML takes for something else."""

MISSING = ""
"""What stands in a row where there is no value."""

DIGITS = 9  # significant digits of a float32 that is written without a known number of decimals


def numeric(name: str, values: NDArray[np.float64], decimals: int | None = None) -> Column:
    """A numeric column of these values, NaN where one is missing; no order of the rows changes a digit."""
    missing = np.isnan(values)
    known = values[~missing]
    count = max(1, len(known))
    mean = math.fsum(known) / count
    std = math.sqrt(math.fsum(np.square(known - mean)) / count)
    whole = bool((known == np.trunc(known)).all())
    masked = bool(missing.any())
    counts = (len(known), int(missing.sum())) if masked else ()
    return Column(name, (), mean, std or 1.0, whole, None if whole else decimals, masked, counts=counts)


def encoded(row: Sequence[Value], columns: Sequence[Column]) -> NDArray[np.float32]:
    """float32 (F,) of one row: a text of its categories, or a number, for each column; `MISSING` in a masked one.

    Raises:
        ValueError: if a text is not one of the categories.
    """
    found = np.zeros(sum(column.width for column in columns), dtype=np.float32)
    place = 0
    for value, column in zip(row, columns, strict=True):
        if column.categories:
            found[place + column.categories.index(str(value))] = 1
        elif column.masked and value == MISSING:
            found[place + 1] = 1
        else:
            found[place] = (float(value) - column.mean) / column.std
        place += column.width
    return found


def rows(x: NDArray[Any], columns: Sequence[Column]) -> list[tuple[Value, ...]]:
    """The rows that (n, F) numbers stand for: of a category the largest, of whole numbers the nearest.

    Numbers have the decimals of their column, and a missing one is `MISSING`.
    """
    held: list[list[Value]] = []
    place = 0
    for column in columns:
        mine = np.asarray(x[:, place : place + column.width], dtype=np.float64)
        place += column.width
        if column.categories:
            held.append([column.categories[number] for number in mine.argmax(axis=1).tolist()])
            continue
        values: list[Value] = [_rounded(value, column) for value in (mine[:, 0] * column.std + column.mean).tolist()]
        if column.masked:
            values = [MISSING if gone else value for value, gone in zip(values, mine[:, 1] > 0.5, strict=True)]
        held.append(values)
    return list(zip(*held, strict=True))


def _rounded(value: float, column: Column) -> float | int:
    if not math.isfinite(value):
        return value
    if column.whole:
        return round(value)
    return value if column.decimals is None else round(value, column.decimals)


def header(spec: DataSpec, label: bool) -> list[str]:
    """The names of the source's columns in its order; with that of the class where `label`."""
    names = [column.name for column in spec.columns]
    if label and spec.label_column is not None:
        name, place = spec.label_column
        names.insert(place, name)
    return names


def table(x: NDArray[Any], spec: DataSpec, labels: NDArray[np.int64] | None = None) -> list[list[Value]]:
    """`rows` of (n, F) numbers as the source has them, with the class's name in its column where labels are given."""
    found = [list(row) for row in rows(x, spec.columns)]
    if labels is not None and spec.label_column is not None:
        for row, label in zip(found, labels.tolist(), strict=True):
            row.insert(spec.label_column[1], spec.classes[label])
    return found


def written(
    table: Sequence[Sequence[Value]], names: Sequence[str], columns: Sequence[Column]
) -> list[list[str | int | Decimal]]:
    """The rows with their numbers as the source wrote them: whole, or with as many decimals."""
    by_name = {column.name: column for column in columns}
    return [[_written(value, by_name.get(name)) for value, name in zip(row, names, strict=True)] for row in table]


def _written(value: Value, column: Column | None) -> str | int | Decimal:
    if isinstance(value, str | int):
        return value
    decimals = None if column is None else column.decimals
    return Decimal(f"{value:.{DIGITS}g}" if decimals is None else f"{value:.{decimals}f}")


def pinned(columns: Sequence[Column]) -> str:
    """What each column is, as `ingest.source.columns` of params.yaml takes it."""
    return "{" + ", ".join(f"{_key(column.name)}: {column.kind}" for column in columns) + "}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) and name.lower() not in WORDS else json.dumps(name)
