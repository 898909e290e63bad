"""The rows of a parquet file as text, as those of a csv file are."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pipeline.data.sources import _tables
from pipeline.errors import SettingsError
from pipeline.redaction import visible


def rows(path: Path, ignored: Collection[str], where: str) -> Iterator[list[str]]:
    """The names of the columns, then each row as text: empty where there is no value, and for `ignored` columns.

    where: the setting that ignores a column, for errors.

    Raises:
        SettingsError: for a column of lists, structs or bytes, which no row of text can hold.
        UserError: if the file is damaged.
    """
    with _tables.opened(path, path.stat().st_size) as file:
        schema = file.schema_arrow
        names = [str(name) for name in schema.names]
        nested = [field.name for field in schema if not _is_cell(field.type) and field.name not in ignored]
        if nested:
            shown = visible(str(nested[0]), lines=False)[:80]
            raise SettingsError(f"{where}: '{shown}' holds lists, structs or bytes; set columns: {{{shown}: ignore}}")
        yield names
        read = [name for name in names if name not in ignored]
        for batch in file.iter_batches(batch_size=_tables.TEXT_ROWS, columns=read, use_threads=False) if read else ():
            held = {name: [_cell(value) for value in batch.column(name).to_pylist()] for name in read}
            nothing = [""] * batch.num_rows
            yield from (list(row) for row in zip(*(held.get(name, nothing) for name in names), strict=True))


def _is_cell(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind) or _tables.is_text(kind)
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
