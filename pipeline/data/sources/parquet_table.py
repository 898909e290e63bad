"""A table in a parquet file: see `_table_source` for what becomes of its columns."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline import limits
from pipeline.data.sources import _parquet_rows, _shared, _table_columns
from pipeline.data.sources._table_columns import WHERE, Table
from pipeline.data.sources._table_source import FileSettings, TableSource
from pipeline.errors import SettingsError, UserError
from pipeline.settings import DataPath


class Config(FileSettings):
    """Which table, and what its columns are."""

    path: DataPath = Field(description="a .parquet file of numbers, text, dates and truth values")
    max_bytes: int = Field(default=limits.ROWS_BYTES, ge=1, description="a larger file is refused")


class Source(TableSource[Config]):
    """Every row in the order of the file; classes in natural order."""

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        import pyarrow as pa
        from pyarrow import parquet

        columns = {"a": [0.5, 1.5, 2.5, 3.5], "b": ["x", None, "y", "x"], "label": ["u", "v", "v", "u"]}
        parquet.write_table(pa.table(columns), folder / "x.parquet")
        return {"path": str(folder / "x.parquet"), "label": "label"}

    def read_table(self) -> Table:
        return _read(*_shared.identity(Path(self.config.path)), self.config.model_dump_json())


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, _changed: int, settings: str) -> Table:
    config = Config.model_validate_json(settings)
    if size > config.max_bytes:
        raise SettingsError(
            f"{WHERE}.path: {path} has {size} bytes, allowed are {config.max_bytes}; if you trust it, raise "
            f"{WHERE}.max_bytes"
        )
    try:
        return _table_columns.read(_Values(path, config), config)
    except SettingsError:
        raise
    except UserError as error:  # of the file itself
        raise SettingsError(f"{WHERE}.path: {error}") from None


class _Values(_table_columns.TextRows):
    """The values of a parquet file as text; what is missing is empty."""

    def __init__(self, path: str, config: Config) -> None:
        super().__init__(path)
        self._config = config

    def read(self) -> Iterator[Sequence[str]]:
        ignored = {name for name, kind in self._config.columns.items() if kind == "ignore"}
        return _parquet_rows.rows(Path(self.path), ignored, f"{WHERE}.columns")
