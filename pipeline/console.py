"""What is written for people: in any encoding and at any width, and never at the cost of the work."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TextIO

from pipeline.redaction import visible
from pipeline.streams import plain, terminal

# --- width ------------------------------------------------------------------------------------


def width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal that a stream (None = stdout) goes to; None where it is no terminal, and none is asked.

    `COLUMNS` counts for a terminal alone: what goes to a file or a program is not cut to the size of a window.
    """
    found = sys.stdout if stream is None else stream
    try:
        terminal = found.isatty()
    except ValueError:
        terminal = False
    return max(shutil.get_terminal_size().columns, 20) if terminal else None


def folded(text: str, indent: str = "", stream: TextIO | None = None) -> str:
    """A line as the terminal shows it whole: broken between words, `indent` before all but the first; else as it is."""
    columns = width(stream)
    text = _shown(text, getattr(stream, "encoding", None))
    if columns is None or len(text) <= columns:
        return text
    start = text[: len(text) - len(text.lstrip())]
    return textwrap.fill(
        text.strip(),
        columns,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


@dataclass(frozen=True)
class ShownColumn:
    """One column of a table. `folds`: its words may stand below each other where the terminal is narrow."""

    heading: str
    right: bool = False
    folds: bool = False


def show_table(columns: Sequence[ShownColumn], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on stdout in which nothing is cut.

    At its natural width where that fits or where no terminal is; with columns folded where that fits; else as
    records: the first column's cell as a heading, and below it a line for each other cell that is not empty.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[_shown(cell) for cell in row] for row in rows]
    table = Table(title=Text(_shown(title)) if title else None, safe_box=True)
    for column in columns:
        table.add_column(
            Text(_shown(column.heading)),
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.folds,
        )
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    if not (sys.stdout.encoding or "utf-8").lower().replace("_", "-").startswith("utf"):
        table.box = box.ASCII2
    measure = Console(width=10**6).measure(table)
    columns_here = width()
    if columns_here is None or measure.minimum <= columns_here:
        natural = measure.maximum if columns_here is None else columns_here
        Console(file=_as_written(), width=max(natural, len(title)), highlight=False).print(table)
        return
    print(_records(columns, cells, _shown(title)))


def _records(columns: Sequence[ShownColumn], rows: Sequence[Sequence[str]], title: str) -> str:
    first, *others = columns
    longest = max((len(column.heading) for column in others), default=0)
    lines = [folded(title, "  ")] if title else []
    for row in rows:
        lines.append(folded(f"{first.heading} {row[0]}".strip(), "  "))
        for column, cell in zip(others, row[1:], strict=True):
            if not cell.strip():
                continue
            name = _shown(f"{column.heading}:") if column.heading else ""
            lines.append(folded(f"  {name:<{longest + 1}} {cell}", " " * (longest + 4)))
    return "\n".join(lines)


def _shown(text: str, encoding: str | None = None) -> str:
    """As the terminal shows it: others may have named what is told, and colours can hide as much as they show."""
    return visible(plain(text, encoding))


def _as_written() -> IO[str]:
    """stdout now: rich would look it up itself, but a test may have put another in its place."""
    return terminal(sys.stdout)
