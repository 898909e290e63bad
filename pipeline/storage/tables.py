"""Tables as csv or tsv, in which no text of a stranger's is a formula for the spreadsheet that opens it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline import limits
from pipeline.errors import BrokenArtefact
from pipeline.storage import files

# What spreadsheets take for the beginning of a formula; apostrophes before it are ours, or must be told from ours.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def encoded(columns: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> bytes:
    """A header and rows in UTF-8, lines ended by a newline alone. Numbers are as `repr` gives them.

    A cell of text that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP advises;
    `read` takes it away again.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([guarded(name) for name in columns])
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",") -> None:
    """The same as a file, written atomically."""
    files.write_bytes(path, encoded(columns, rows, delimiter))


def read(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of what `write` wrote, by column; empty where there is no such file.

    Raises:
        BrokenArtefact: if it is no such table, or larger than one is read.
    """
    if not path.exists():
        return []
    data = files.contents(path, limits.TABLE_BYTES, "its stage")
    try:
        read_rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)
        header, *rows = (row for row in read_rows if row)
    except (ValueError, csv.Error) as error:
        raise BrokenArtefact(f"{path} is no table ({error}); run its stage again") from None
    names = [_unguarded(name) for name in header]
    return [dict(zip(names, map(_unguarded, row), strict=False)) for row in rows]


def guarded(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if _GUARDED.match(cell) else cell
