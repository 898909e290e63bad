"""A table in a csv file: see `_table_source` for what becomes of its columns."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline import limits
from pipeline.data.sources import _labels, _shared, _table_columns
from pipeline.data.sources._table_columns import WHERE, Table
from pipeline.data.sources._table_source import FileSettings, TableSource
from pipeline.settings import DataPath


class Config(FileSettings):
    """Which table, and what its columns are."""

    path: DataPath = Field(description="a csv file in UTF-8, with the columns' names in its first line")
    separator: Literal[",", ";", "\t", "|"] = Field(default=",", description="what stands between two fields")
    max_bytes: int = Field(default=limits.ROWS_BYTES, ge=1, description="a larger file is refused")


class Source(TableSource[Config]):
    """Every row in the order of the file; classes in natural order."""

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        (folder / "x.csv").write_text("a,b,label\n0.5,x,u\n1.5,,v\n2.5,y,v\n3.5,x,u\n")
        return {"path": str(folder / "x.csv"), "label": "label"}

    def read_table(self) -> Table:
        return _read(*_shared.identity(Path(self.config.path)), self.config.model_dump_json())


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, _changed: int, settings: str) -> Table:
    config = Config.model_validate_json(settings)
    return _table_columns.read(_Lines(path, size, config), config)


class _Lines(_table_columns.TextRows):
    """The lines of a csv file."""

    def __init__(self, path: str, size: int, config: Config) -> None:
        super().__init__(path)
        self._size, self._config = size, config

    def read(self) -> Iterator[Sequence[str]]:
        limit = (self._size, self._config.max_bytes)
        with _labels.opened(self.path, limit, f"{WHERE}.path", f"{WHERE}.max_bytes") as file:
            yield from _labels.table(file, self._config.separator)
