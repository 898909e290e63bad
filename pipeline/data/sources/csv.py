"""A table in a csv file: columns of numbers, scaled to mean 0 and deviation 1, and of categories, one-hot.

Mean and deviation are those of all rows that can be used. What each number stands for is in the manifest's spec
(`columns`), so that `pipeline.data.columns.rows` turns samples back into rows.
"""

from __future__ import annotations

import functools
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits
from pipeline.data import columns
from pipeline.data.columns import Value
from pipeline.data.source import DataSource, Entry, Limits, Problem
from pipeline.data.sources import _labels, _shared
from pipeline.errors import SettingsError
from pipeline.natural import natural
from pipeline.redaction import visible
from pipeline.settings import DataPath, Settings
from pipeline.types import Column, Modality

WHERE = "ingest.source"
FEW = 10  # whole numbers of no more different values are categories
DIGITS, LARGEST = 400, 1e100  # of a number
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})

Kind = Literal["numeric", "categorical", "ignore"]
Taking = TypeVar("Taking", "_Kinds", "_Values")


class Config(Settings):
    """Which table, and what its columns are."""

    path: DataPath = Field(description="a csv file in UTF-8, with the columns' names in its first line")
    separator: Literal[",", ";", "\t", "|"] = Field(default=",", description="what stands between two fields")
    columns: dict[str, Kind] = Field(
        default={},
        description="name → numeric, categorical or ignore; others are numeric if all their values are numbers, unless "
        "these are whole and ten at most",
    )
    label: str | None = Field(default=None, description="the column that holds the class; it is no part of x")
    missing: Literal["reject", "category"] = Field(
        default="reject",
        description="a row without a value: reject it; category: in columns of categories that is one of them",
    )
    max_categories: int = Field(default=100, ge=2, description="a column of more different values is refused")
    max_bytes: int = Field(default=limits.ROWS_BYTES, ge=1, description="a larger file is refused")
    max_items: int = Field(default=limits.IDX_ITEMS, ge=1, description="no more rows are read")


class Source(DataSource[Config]):
    """Every row in the order of the file; classes in natural order."""

    paths = ("path",)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        (folder / "x.csv").write_text("a,b,label\n0.5,x,u\n1.5,,v\n2.5,y,v\n3.5,x,u\n")
        return {"path": str(folder / "x.csv"), "label": "label"}

    @property
    def modality(self) -> Modality:
        return "rows"

    def check(self, where: str = WHERE) -> None:
        _shared.require_file(self.config.path, f"{where}.path")
        if not self._table.columns:
            raise SettingsError(f"{where}.columns: no column is left for x")

    def native_shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self._table.columns),)

    def columns(self) -> tuple[Column, ...]:
        return self._table.columns

    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({label for label in self._table.labels if label}, key=natural))

    def entries(self) -> list[Entry]:
        labelled = self.config.label is not None
        return [
            Entry(f"row/{number:07d}", (number,), None if problem or not labelled else label, problem)
            for number, (label, problem) in enumerate(zip(self._table.labels, self._table.problems, strict=True))
        ]

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        return tuple((visible(name, lines=False), "an ignored column") for name in self._table.ignored)

    def fetch(self, entry: Entry, limits: Limits) -> bytes:
        (number,) = cast(tuple[int], entry.where)
        return columns.encoded(self._row(number), self._table.columns).astype("<f4").tobytes()

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.float32]:
        return np.frombuffer(stored, dtype="<f4").astype(np.float32)

    @functools.cached_property
    def _table(self) -> _Table:
        return _read(*_shared.identity(Path(self.config.path)), self.config.model_dump_json())

    def _row(self, number: int) -> list[Value]:
        table = self._table
        return [
            column.categories[int(held[number])] if column.categories else held[number]
            for column, held in zip(table.columns, table.held, strict=True)
        ]


@dataclass(frozen=True)
class _Table:
    """held: the values of each column, numbers or places in its categories. labels: of each row, "" where it has none.

    problems: why a row cannot be used; what `held` has of it means nothing.
    """

    columns: tuple[Column, ...]
    held: list[array[Any]]
    labels: list[str]
    problems: list[Problem | None]
    ignored: tuple[str, ...]


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, _changed: int, settings: str) -> _Table:
    """Read once a process, in two passes: what each column is, and its values.

    Raises:
        SettingsError: if it is no csv, larger than is read, or its columns are not what the settings say.
    """
    config = Config.model_validate_json(settings)
    kinds = _taken(path, size, config, lambda names: _Kinds(names, config)).kinds
    values = _taken(path, size, config, lambda names: _Values(names, config, kinds))
    if not values.labels:
        raise SettingsError(f"{WHERE}.path: {path} holds no rows")
    return values.table()


def _taken(path: str, size: int, config: Config, make: Callable[[list[str]], Taking]) -> Taking:
    """What `make` makes of the columns' names, after it has taken every row."""
    with _labels.opened(path, (size, config.max_bytes), f"{WHERE}.path", f"{WHERE}.max_bytes") as file:
        reader = _labels.table(file, config.separator)
        found = make(_names(path, next(reader, []), config))
        for number, row in enumerate(filter(None, reader)):
            if number == config.max_items:
                raise SettingsError(f"{WHERE}.path: {path} has more than {number} rows; raise max_items")
            found.take([field.strip() for field in row])
        return found


def _names(path: str, header: list[str], config: Config) -> list[str]:
    names = [name.strip() for name in header]
    if not any(names):
        raise SettingsError(f"{WHERE}.path: {path} is empty, or its first line is; it must name the columns")
    if len(set(names)) != len(names) or "" in names:
        twice = next((name for name in names if names.count(name) > 1), "")
        what = f"'{visible(twice, lines=False)[:80]}' names two columns" if twice else "a column has no name"
        raise SettingsError(f"{WHERE}.path: {path}: {what}")
    for key, wanted in (("columns", [*config.columns]), ("label", [] if config.label is None else [config.label])):
        for name in wanted:
            if name not in names:
                known = ", ".join(visible(each, lines=False)[:80] for each in names[:8])
                raise SettingsError(f"{WHERE}.{key}: there is no column '{name}'; there are {known}")
    return names


class _Kinds:
    """What each column is: as it is declared, or by its values."""

    def __init__(self, names: list[str], config: Config) -> None:
        self._width = len(names)
        self._open = [n for n, name in enumerate(names) if name not in config.columns and name != config.label]
        self._few: dict[int, set[str]] = {number: set() for number in self._open}
        self.kinds: dict[int, Kind] = {
            n: config.columns[name] for n, name in enumerate(names) if name in config.columns
        }
        self.kinds |= dict.fromkeys(self._open, "categorical")
        self._numbers = dict.fromkeys(self._open, True)

    def take(self, row: list[str]) -> None:
        """Look at one row."""
        for number in self._open if len(row) == self._width else ():
            text, few = row[number], self._few[number]
            if text in few or not self._numbers[number] or text.lower() in MISSING:
                continue
            value = _number(text)
            self._numbers[number] = value is not None
            if len(few) <= FEW:
                few.add(text)
            if self._numbers[number] and few:
                many = len(few) > FEW or not cast(float, value).is_integer()
                self.kinds[number] = "numeric" if many or self.kinds[number] == "numeric" else "categorical"
            else:
                self.kinds[number] = "categorical"


class _Values:
    """The values of each column, and of each row why it cannot be used."""

    def __init__(self, names: list[str], config: Config, kinds: dict[int, Kind]) -> None:
        self._names, self._config, self._kinds = names, config, kinds
        self._kept = [n for n, name in enumerate(names) if name != config.label and kinds[n] != "ignore"]
        self._at = None if config.label is None else names.index(config.label)
        self._held = {n: array("d" if kinds[n] == "numeric" else "i") for n in self._kept}
        self._codes: dict[int, dict[str, int]] = {n: {} for n in self._kept}
        self._same: dict[str, str] = {}
        self.labels: list[str] = []
        self._problems: list[Problem | None] = []

    def take(self, row: list[str]) -> None:
        """Take one row."""
        problem, label = self._problem(row), ""
        for number in self._kept:
            self._held[number].append(0 if problem else self._value(number, row[number]))
        if problem is None and self._at is not None:
            label = visible(row[self._at], lines=False)
        self.labels.append(self._same.setdefault(label, label))
        self._problems.append(problem)

    def _problem(self, row: list[str]) -> Problem | None:
        if len(row) != len(self._names):
            return "another number of fields", f"{len(row)}, and there are {len(self._names)} columns"
        if self._at is not None and row[self._at].lower() in MISSING:
            return "no label in the row", ""
        for number in self._kept:
            text, numeric = row[number], self._kinds[number] == "numeric"
            where = f"in the column {visible(self._names[number], lines=False)[:80]}"
            if text.lower() in MISSING and (numeric or self._config.missing == "reject"):
                return "no value", where
            if numeric and _number(text) is None:
                return "not a number", where
        return None

    def _value(self, number: int, text: str) -> float | int:
        if self._kinds[number] == "numeric":
            return cast(float, _number(text))
        codes = self._codes[number]
        shown = "" if text.lower() in MISSING else visible(text, lines=False)
        code = codes.setdefault(shown, len(codes))
        if len(codes) > self._config.max_categories:
            name = visible(self._names[number], lines=False)[:80]
            raise SettingsError(
                f"{WHERE}.columns: '{name}' has more than {self._config.max_categories} different values; set columns: "
                f"{{{name}: ignore}}, or raise max_categories"
            )
        return code

    def table(self) -> _Table:
        """All rows, with the categories in their order."""
        good = np.array([problem is None for problem in self._problems])
        made: list[Column] = []
        for number in self._kept:
            name, held = visible(self._names[number], lines=False), self._held[number]
            if self._kinds[number] == "numeric":
                made.append(columns.numeric(name, np.frombuffer(held, np.float64)[good]))
                continue
            categories = tuple(sorted(self._codes[number], key=natural)) or ("",)
            places = {self._codes[number].get(each, 0): place for place, each in enumerate(categories)}
            self._held[number] = array("i", [places.get(code, 0) for code in held])
            made.append(Column(name, categories))
        ignored = tuple(name for name in self._names if self._config.columns.get(name) == "ignore")
        return _Table(tuple(made), list(self._held.values()), self.labels, self._problems, ignored)


def _number(text: str) -> float | None:
    """A finite number that a mean can be taken of."""
    try:
        value = float(text) if len(text) < DIGITS and "_" not in text else math.nan
    except ValueError:
        return None
    return value if abs(value) < LARGEST else None
