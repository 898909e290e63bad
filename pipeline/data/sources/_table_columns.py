"""What the columns of a table are, by its settings or its values, and the values of all rows as numbers."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field

from pipeline import limits
from pipeline.data import columns
from pipeline.data.source import Problem
from pipeline.errors import SettingsError
from pipeline.natural import natural
from pipeline.redaction import visible
from pipeline.settings import Settings
from pipeline.types import Column

WHERE = "ingest.source"
FEW = 10  # whole numbers of no more different values are categories
DIGITS, LARGEST, DECIMALS = 400, 1e100, 15  # of a number
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
DATE = re.compile(r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{2,4})([T ].*)?", re.ASCII)
NUMBERS = frozenset({"numeric", "whole"})

Kind = Literal["numeric", "whole", "categorical", "binary", "ignore"]


class TableSettings(Settings):
    """What the columns of a table are, and what becomes of rows that lack a value."""

    columns: dict[str, Kind] = Field(
        default={},
        description="name → numeric, whole, categorical, binary or ignore; others are numeric if all their values are "
        "numbers, unless these are whole and ten at most",
    )
    label: str | None = Field(default=None, description="the column that holds the class; it is no part of x")
    missing: Literal["reject", "category", "mask"] = Field(
        default="reject",
        description="a row without a value: reject it; category: in columns of categories that is one of them; mask: "
        "the same, and a column of numbers gets a second one, 1 where the value is missing",
    )
    max_categories: int = Field(default=100, ge=2, description="a column of more different values is refused")
    unusable: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="a column of more than max_categories different values that are no numbers: dates, names, text",
    )
    modes: int = Field(
        default=0, ge=0, le=100, description="components of the mixture sought in each numeric column; ctgan needs 10"
    )
    max_items: int = Field(default=limits.IDX_ITEMS, ge=1, description="no more rows are read")


@dataclass(frozen=True)
class Table:
    """All that a table holds.

    held: the values of each column, numbers (NaN: missing) or places in its categories. labels: of each row, "" where
    it has none. problems: why a row cannot be used; what `held` has of it means nothing. ignored: (column, why).
    label_place: how many columns stand before that of the class.
    """

    columns: tuple[Column, ...]
    held: list[array[Any]]
    labels: list[str]
    problems: list[Problem | None]
    ignored: tuple[tuple[str, str], ...]
    label_place: int


class TextRows(ABC):
    """Rows of text: the names of the columns, and as often as it is asked all rows below them."""

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def read(self) -> Iterator[Sequence[str]]:
        """The names, then the rows."""


def read(rows: TextRows, config: TableSettings) -> Table:
    """The table, read in two passes: what each column is, and its values.

    Raises:
        SettingsError: if its columns are not what the settings say, or it holds no rows.
    """
    names, found = _begun(rows, config)
    kinds = _Kinds(names, config)
    for row in found:
        kinds.take(row)
    names, found = _begun(rows, config)
    values = _Values(names, config, kinds)
    for row in found:
        values.take(row)
    if not values.labels:
        raise SettingsError(f"{WHERE}.path: {rows.path} holds no rows")
    return values.table()


def _begun(rows: TextRows, config: TableSettings) -> tuple[list[str], Iterator[list[str]]]:
    found = rows.read()
    return _names(rows.path, next(found, []), config), _bounded(rows.path, found, config.max_items)


def _bounded(path: str, rows: Iterable[Sequence[str]], most: int) -> Iterator[list[str]]:
    for number, row in enumerate(filter(None, rows)):
        if number == most:
            raise SettingsError(f"{WHERE}.path: {path} has more than {number} rows; raise max_items")
        yield [field.strip() for field in row]


def _names(path: str, header: Sequence[str], config: TableSettings) -> list[str]:
    names = [name.strip() for name in header]
    if not any(names):
        raise SettingsError(f"{WHERE}.path: {path} is empty, or its first line is; it must name the columns")
    if len(set(names)) != len(names) or "" in names:
        twice = next((name for name in names if names.count(name) > 1), "")
        what = f"'{shown(twice)}' names two columns" if twice else f"column {names.index('') + 1} has no name"
        raise SettingsError(f"{WHERE}.path: {path}: {what}; give each column a name of its own in the first line")
    for key, wanted in (("columns", [*config.columns]), ("label", [] if config.label is None else [config.label])):
        for name in wanted:
            if name not in names:
                known = ", ".join(shown(each) for each in names[:8])
                raise SettingsError(f"{WHERE}.{key}: there is no column '{name}'; there are {known}")
    return names


def shown(name: str) -> str:
    """A name for a sentence."""
    return visible(name, lines=False)[:80]


class _Kinds:
    """What each column is: as it is declared, or by its values."""

    def __init__(self, names: list[str], config: TableSettings) -> None:
        self._names, self._config = names, config
        self._open = [n for n, name in enumerate(names) if name not in config.columns and name != config.label]
        self._seen: dict[int, set[str]] = {number: set() for number in self._open}
        self._most = max(FEW, config.max_categories) + 1
        self._numbers = dict.fromkeys(self._open, 0)
        self._others = dict.fromkeys(self._open, 0)
        self._fractions: set[int] = set()
        self._texts: dict[int, str] = {}

    def take(self, row: list[str]) -> None:
        """Look at one row."""
        for number in self._open if len(row) == len(self._names) else ():
            text, seen = row[number], self._seen[number]
            if text in seen or text.lower() in MISSING:
                continue
            if len(seen) < self._most:
                seen.add(text)
            value = number_of(text)
            if value is None:
                self._others[number] += 1
                self._texts.setdefault(number, text)
            else:
                self._numbers[number] += 1
                if not value.is_integer():
                    self._fractions.add(number)

    @property
    def kinds(self) -> dict[int, Kind]:
        """The kind of each column."""
        declared = self._config.columns
        found: dict[int, Kind] = {number: self._inferred(number) for number in self._open}
        for number, name in enumerate(self._names):
            if name in declared:
                found[number] = declared[name]
        return found

    def _inferred(self, number: int) -> Kind:
        if self._config.unusable == "drop" and self.unusable(number):
            return "ignore"
        numbers = self._numbers[number] and not self._others[number]
        many = len(self._seen[number]) > FEW or number in self._fractions
        return "numeric" if numbers and many else "categorical"

    def unusable(self, number: int) -> str:
        """What is in a column of too many different values that are not all numbers; nothing for other columns."""
        if not self._others.get(number) or len(self._seen[number]) <= self._config.max_categories:
            return ""
        if self._numbers[number]:
            return f"numbers and text such as '{shown(self._texts[number])}'"
        return "dates" if all(map(DATE.fullmatch, self._seen[number])) else "names or free text"


class _Values:
    """The values of each column, and of each row why it cannot be used."""

    def __init__(self, names: list[str], config: TableSettings, known: _Kinds) -> None:
        self._names, self._config, self._known, self._kinds = names, config, known, known.kinds
        self._kept = [n for n, name in enumerate(names) if name != config.label and self._kinds[n] != "ignore"]
        self._at = None if config.label is None else names.index(config.label)
        self._held = {n: array("d" if self._kinds[n] in NUMBERS else "i") for n in self._kept}
        self._codes: dict[int, dict[str, int]] = {n: {} for n in self._kept}
        self._decimals: dict[int, int | None] = dict.fromkeys(self._kept, 0)
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
        missing = self._config.missing
        for number in self._kept:
            text, numeric = row[number], self._kinds[number] in NUMBERS
            where = f"in the column {shown(self._names[number])}"
            if text.lower() in MISSING:
                if missing == "reject" or (numeric and missing == "category"):
                    return "no value", where
            elif numeric:
                value = number_of(text)
                if value is None:
                    return "not a number", where
                if self._kinds[number] == "whole" and not value.is_integer():
                    return "not a whole number", where
        return None

    def _value(self, number: int, text: str) -> float | int:
        missing = text.lower() in MISSING
        if self._kinds[number] in NUMBERS:
            if missing:
                return math.nan
            self._decimals[number] = _more(self._decimals[number], text)
            return cast(float, number_of(text))
        codes = self._codes[number]
        code = codes.setdefault("" if missing else visible(text, lines=False), len(codes))
        if len(codes) > (2 if self._kinds[number] == "binary" else self._config.max_categories):
            raise self._too_many(number)
        return code

    def _too_many(self, number: int) -> SettingsError:
        name, most = shown(self._names[number]), self._config.max_categories
        if self._kinds[number] == "binary":
            return SettingsError(
                f"{WHERE}.columns.{name}: is binary, and the column has more than two different values"
            )
        held = self._known.unusable(number)
        what = f"holds {held}, and " if held else ""
        numeric = f", or {name}: numeric, which rejects the rows with text" if held.startswith("numbers") else ""
        return SettingsError(
            f"{WHERE}.columns: '{name}' {what}has more than {most} different values; set columns: {{{name}: ignore}}"
            f"{numeric}, unusable: drop for all such columns, or raise max_categories"
        )

    def table(self) -> Table:
        """All rows, with the categories in their order."""
        good = np.array([problem is None for problem in self._problems])
        made: list[Column] = []
        for number in self._kept:
            name, held = visible(self._names[number], lines=False), self._held[number]
            if self._kinds[number] in NUMBERS:
                values = np.frombuffer(held, np.float64)[good]
                made.append(columns.numeric(name, values, self._decimals[number]))
                continue
            categories = tuple(sorted(self._codes[number], key=natural)) or ("",)
            places = {self._codes[number].get(each, 0): place for place, each in enumerate(categories)}
            self._held[number] = array("i", [places.get(code, 0) for code in held])
            counts = np.bincount(np.asarray(self._held[number], np.int64)[good], minlength=len(categories))
            made.append(Column(name, categories, counts=tuple(counts.tolist())))
        before = [n for n in self._kept if self._at is not None and n < self._at]
        return Table(
            tuple(made), list(self._held.values()), self.labels, self._problems, tuple(self._ignored()), len(before)
        )

    def _ignored(self) -> Iterator[tuple[str, str]]:
        for number, name in enumerate(self._names):
            if self._kinds.get(number) == "ignore":
                held = self._known.unusable(number)
                yield visible(name, lines=False), f"a column of {held}" if held else "an ignored column"


def number_of(text: str) -> float | None:
    """A finite number that a mean can be taken of."""
    try:
        value = float(text) if len(text) < DIGITS and "_" not in text else math.nan
    except ValueError:
        return None
    return value if abs(value) < LARGEST else None


def _more(decimals: int | None, text: str) -> int | None:
    """The digits after the point of these values and one more; None: some have an exponent, or too many digits."""
    found = len(text.partition(".")[2])
    if decimals is None or "e" in text.lower() or found > DECIMALS:
        return None
    return max(decimals, found)
