"""Parquet files: their columns and labels, and one column of bytes as a flat file, so that any row is read directly.

A page of parquet is decoded as a whole, and rows are asked for in an order of their own. So the column of images is
written once to this machine's cache: the values, then for each row where its value begins and how long it is.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline import limits
from pipeline.data import unpacked
from pipeline.data.sources import _shared
from pipeline.errors import Damaged, UserError
from pipeline.redaction import visible
from pipeline.storage.damage import parse_json, reading

MAGIC = b"PAR1"
ROWS = 64  # of images that are decoded at a time
TEXT_ROWS = 2**14
PLACE = struct.Struct("<qq")
COUNT = struct.Struct("<q")
CONTAINER = 2**20  # elements of one list in the footer


@dataclass(frozen=True)
class Head:
    """What a file's footer says.

    rows: how many. images: columns that may hold images, as pyarrow names their bytes. labels: columns that may be
    labels. names: class names by column, where the Hugging Face hub's description has them. texts: columns of text,
    or of lists of text.
    """

    rows: int
    images: dict[str, str]
    labels: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    preferred: tuple[str, ...]
    texts: tuple[str, ...] = ()


def head(path: Path) -> Head:
    """The footer of a file, read once a process.

    Raises:
        UserError: if it is no parquet file, or its footer is larger than is read.
    """
    return _head(*_shared.identity(path))


@functools.lru_cache(maxsize=1024)
def _head(path: str, size: int, _changed: int) -> Head:
    import pyarrow as pa

    with opened(Path(path), size) as file:
        rows, schema = int(file.metadata.num_rows), file.schema_arrow
        features = _features(schema.metadata or {})
        images: dict[str, str] = {}
        labels: list[str] = []
        names: dict[str, tuple[str, ...]] = {}
        for field in schema:
            if _is_bytes(field.type):
                images[field.name] = field.name
            elif pa.types.is_struct(field.type) and any(
                inner.name == "bytes" and _is_bytes(inner.type) for inner in field.type
            ):
                images[field.name] = f"{field.name}.bytes"
            elif pa.types.is_integer(field.type) or is_text(field.type):
                labels.append(field.name)
            described: Any = features.get(field.name)
            held: Any = cast(dict[str, Any], described).get("names") if isinstance(described, dict) else None
            if (
                pa.types.is_integer(field.type)
                and isinstance(held, list)
                and all(isinstance(each, str) for each in cast(list[Any], held))
            ):
                shown = tuple(visible(each, lines=False) for each in cast(list[str], held))
                names |= {field.name: shown} if len(set(shown)) == len(shown) else {}
        preferred = tuple(name for name in images if _type_of(features.get(name)) == "Image")
        texts = tuple(field.name for field in schema if is_text(_inner(field.type)))
        return Head(rows, images, tuple(labels), names, preferred, texts)


def _inner(kind: Any) -> Any:
    """What a list's elements are; of what is no list, itself."""
    import pyarrow as pa

    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return kind.value_type if lists else kind


def sentences(path: Path, column: str, max_bytes: int) -> list[tuple[str, ...]]:
    """The texts of each row of a column of text, or of lists of text; read once a process.

    Raises:
        UserError: if the file is damaged, or the column is larger than `max_bytes` once it is unpacked.
    """
    return _sentences(*_shared.identity(path), column, max_bytes)


@functools.lru_cache(maxsize=64)
def _sentences(path: str, size: int, _changed: int, column: str, max_bytes: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    with opened(Path(path), size) as file:
        rows, held = int(file.metadata.num_rows), 0
        for batch in file.iter_batches(batch_size=ROWS, columns=[column], use_threads=False):
            held += int(batch.column(0).nbytes)
            if held > max_bytes:
                raise UserError(
                    f"{path}: the column '{visible(column, lines=False)}' takes more than {max_bytes} bytes; if you "
                    "trust it, raise ingest.source.max_captions_bytes"
                )
            for value in batch.column(0).to_pylist():
                each: list[Any] = cast(list[Any], value) if isinstance(value, list) else [value]
                found.append(tuple(text for text in each if isinstance(text, str)))
    if len(found) != rows:
        raise UserError(f"{path} is damaged (it holds {len(found)} rows and says {rows}); fetch it again")
    return found


def labels(path: Path, column: str) -> list[int | str | None]:
    """The values of a column of whole numbers or text, a row each.

    Raises:
        UserError: if the file is damaged.
    """
    found: list[int | str | None] = []
    with opened(path, path.stat().st_size) as file:
        rows = int(file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=TEXT_ROWS, columns=[column], use_threads=False):
            found += batch.column(0).to_pylist()
    if len(found) != rows:
        raise UserError(f"{path} is damaged (it holds {len(found)} rows and says {rows}); fetch it again")
    return found


# --- the flat file ------------------------------------------------------------------------------------


def value(path: Path, column: str, row: int, max_unpacked: int | None, most: int) -> bytes | int | None:
    """The bytes of one row; its length where that is more than `most`, None where the row has none.

    Raises:
        UserError: if the file is damaged, or holds more than `max_unpacked` bytes.
        Damaged: if what is kept of it is.
    """
    flat = _flat(path, column, max_unpacked)
    first, size = _places(str(flat))[row].tolist()
    if first < 0:
        return None
    return size if size > most else unpacked.stretch(flat, first, size)


def _flat(path: Path, column: str, max_unpacked: int | None) -> Path:
    most = unpacked.allowed(path, max_unpacked)
    return unpacked.kept(path, f"parquet {column}", lambda file: _write(path, column, most, file))


@functools.lru_cache(maxsize=64)
def _places(flat: str) -> NDArray[np.int64]:
    """(rows, 2): where each value begins (-1: none) and how long it is; mapped."""
    size = Path(flat).stat().st_size
    (rows,) = COUNT.unpack(unpacked.stretch(Path(flat), size - COUNT.size, COUNT.size))
    if rows == 0:
        return np.zeros((0, 2), np.int64)
    start = size - COUNT.size - rows * PLACE.size
    return np.memmap(flat, np.int64, "r", start, (rows, 2)) if start % 8 == 0 else _copied(flat, start, rows)


def _copied(flat: str, start: int, rows: int) -> NDArray[np.int64]:
    data = unpacked.stretch(Path(flat), start, rows * PLACE.size)
    return np.frombuffer(data, np.int64).reshape(rows, 2)


def _write(path: Path, column: str, most: int, file: unpacked.Writer) -> None:
    places: list[bytes] = []
    with opened(path, path.stat().st_size, column) as parquet:
        rows = int(parquet.metadata.num_rows)
        groups = range(parquet.num_row_groups)  # one by one: a batch over two of them would have two dictionaries
        batches = (
            batch
            for group in groups
            for batch in parquet.iter_batches(ROWS, row_groups=[group], columns=[column], use_threads=False)
        )
        for batch in batches:
            for place in _written(batch.column(0), file, lambda end: _check(path, end, most)):
                places.append(PLACE.pack(*place))
        if len(places) != rows:
            raise Damaged(f"it holds {len(places)} rows and says {rows}")
    file.write(b"".join(places) + COUNT.pack(len(places)))


def _check(path: Path, end: int, most: int) -> None:
    if end > most:
        raise UserError(
            f"{path} unpacks to more than {most} bytes; if you trust it, raise ingest.source.max_unpacked_bytes"
        )


def _written(column: Any, file: unpacked.Writer, check: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Write the values of a batch, equal ones that the file holds once only once; the place of each row's."""
    missing = column.is_null().to_pylist()
    if column.type.num_fields:
        column = column.field("bytes")
    if not hasattr(column, "indices"):
        column = column.dictionary_encode()
    indices = column.indices.to_pylist()
    places: dict[int, tuple[int, int]] = {}
    for number, gone in zip(indices, missing, strict=True):
        if gone or number is None:
            yield -1, 0
            continue
        if number not in places:
            held = column.dictionary[number].as_buffer()
            if held is None:
                yield -1, 0
                continue
            first = file.tell()
            check(first + held.size)
            file.write(memoryview(held))
            places[number] = first, held.size
        yield places[number]


# --- pyarrow ----------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path, size: int, column: str | None = None) -> Generator[Any]:
    """A parquet file, its footer looked at first.

    column: of bytes, read as its different values and the numbers of them: a file may name one value a million times.

    Raises:
        UserError: for whatever pyarrow meets, in the block too.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with reading():
            _check_footer(path, size)
            file = parquet.ParquetFile(
                path,
                read_dictionary=[column] if column else None,
                pre_buffer=False,
                thrift_string_size_limit=limits.PARQUET_FOOTER_BYTES,
                thrift_container_size_limit=CONTAINER,
            )
            with file:
                yield file
    except (Damaged, pa.ArrowException) as error:
        raise UserError(f"{path} is no whole parquet file ({error}); fetch it again") from None


def _check_footer(path: Path, size: int) -> None:
    if size < 12:
        raise Damaged("it is too short")
    length, magic = struct.unpack("<I4s", unpacked.stretch(path, size - 8, 8))
    if magic != MAGIC:
        raise Damaged("it does not end as one" if magic != b"PARE" else "it is encrypted")
    if length > limits.PARQUET_FOOTER_BYTES:
        raise Damaged(f"its footer has {length} bytes, and {limits.PARQUET_FOOTER_BYTES} are allowed")


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """What the Hugging Face hub says of each column; nothing where it says nothing that can be read."""
    try:
        value: Any = parse_json(metadata.get(b"huggingface", b"{}"))
        found: Any = value["info"]["features"]
    except (Damaged, KeyError, TypeError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _type_of(feature: Any) -> Any:
    return cast(dict[str, Any], feature).get("_type") if isinstance(feature, dict) else None


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
