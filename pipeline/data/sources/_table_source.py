"""A source of the rows of a table: columns of numbers, scaled to mean 0 and deviation 1, and of categories, one-hot.

Mean and deviation are those of all rows that can be used. What each number stands for is in the manifest's spec
(`columns`), so that `pipeline.data.columns.rows` turns samples back into rows.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.data import columns, modes
from pipeline.data.columns import Value
from pipeline.data.source import DataSource, Entry, Limits
from pipeline.data.sources import _shared
from pipeline.data.sources._table_columns import WHERE, Table, TableSettings
from pipeline.errors import SettingsError
from pipeline.natural import natural
from pipeline.settings import DataPath
from pipeline.types import Column, Modality, Mode


class FileSettings(TableSettings):
    """A table in one file."""

    path: DataPath


C = TypeVar("C", bound=FileSettings)


class TableSource(DataSource[C]):
    """Every row in the order of the file; classes in natural order."""

    paths = ("path",)

    @functools.cached_property
    def table(self) -> Table:
        """`read_table`."""
        return self.read_table()

    @abstractmethod
    def read_table(self) -> Table:
        """The file, read once a process.

        Raises:
            SettingsError: if it is no such file, larger than is read, or its columns are not what the settings say.
        """

    @property
    def modality(self) -> Modality:
        return "rows"

    def check(self, where: str = WHERE) -> None:
        _shared.require_file(self.config.path, f"{where}.path")
        if not self.table.columns:
            raise SettingsError(f"{where}.columns: no column is left for x")

    def native_shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.table.columns),)

    def columns(self) -> tuple[Column, ...]:
        return self._with_modes if self.config.modes else self.table.columns

    def expected_columns(self) -> tuple[Column, ...]:
        some = (Mode(0.0, 1.0, 1.0),) if self.config.modes else ()
        return tuple(each if each.categories else replace(each, modes=some) for each in self.table.columns)

    def label_column(self) -> tuple[str, int] | None:
        return None if self.config.label is None else (self.config.label, self.table.label_place)

    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({label for label in self.table.labels if label}, key=natural))

    def entries(self) -> list[Entry]:
        labelled = self.config.label is not None
        return [
            Entry(f"row/{number:07d}", (number,), None if problem or not labelled else label, problem)
            for number, (label, problem) in enumerate(zip(self.table.labels, self.table.problems, strict=True))
        ]

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        return self.table.ignored

    def fetch(self, entry: Entry, limits: Limits) -> bytes:
        (number,) = cast(tuple[int], entry.where)
        return columns.encoded(self._row(number), self.table.columns).astype("<f4").tobytes()

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.float32]:
        return np.frombuffer(stored, dtype="<f4").astype(np.float32)

    @functools.cached_property
    def _with_modes(self) -> tuple[Column, ...]:
        good = np.array([problem is None for problem in self.table.problems])
        return tuple(self._fitted(column, held, good) for column, held in zip(*self._both, strict=True))

    @property
    def _both(self) -> tuple[tuple[Column, ...], list[NDArray[np.float64]]]:
        numbers = [np.asarray(held, np.float64) for held in self.table.held]
        return self.table.columns, numbers

    def _fitted(self, column: Column, held: NDArray[np.float64], good: NDArray[np.bool_]) -> Column:
        if column.categories:
            return column
        values = held[good]
        return modes.with_modes(column, values[~np.isnan(values)], self.config.modes)

    def _row(self, number: int) -> list[Value]:
        return [
            column.categories[int(held[number])] if column.categories else _given(held[number])
            for column, held in zip(self.table.columns, self.table.held, strict=True)
        ]


def _given(value: float) -> Value:
    return columns.MISSING if math.isnan(value) else value
