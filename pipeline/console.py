"""What is written for people: in any encoding and at any width, and never at the cost of the work."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, TextIO

PLAIN = "zerosum.plain"  # the name of the codecs' error handler
NO_READER = {errno.EPIPE, errno.EBADF, errno.ECONNRESET}
# What Unicode's own decompositions (é = e + accent, … = ...) do not turn into ASCII.
ASCII = {
    "×": "x",
    "±": "+/-",
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "→": "->",
    "←": "<-",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "·": ".",
    "•": "*",
    "⚠": "!",
    "✓": "ok",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "«": '"',
    "»": '"',
    "ß": "ss",
    "æ": "ae",
    "ø": "o",
    "ł": "l",
    "µ": "u",
    "μ": "u",
    "√": "sqrt",
    "∞": "inf",
    "°": " deg",
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
}
_lost: list[OSError] = []


# --- streams ----------------------------------------------------------------------------------


def settle() -> None:
    """Make stdout and stderr of this process harmless; called first thing by whatever has a `main`.

    Characters that a stream's encoding lacks are written as readable ASCII (× as x, é as e, others as ?). What cannot
    be written at all (the reader of a pipe has gone, the disk is full, the stream is closed) is lost and raises
    nothing; `lost` tells of it. A descriptor that is closed is opened on /dev/null, so that no file of ours gets its
    number and with it what C code prints. Streams that are no descriptor of their own, as a test's, are left.
    """
    codecs.register_error(PLAIN, _replaced)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open(number)
        if number:
            stream = getattr(sys, name)
            setattr(sys, name, _settled(stream, number))


def lost() -> OSError | None:
    """The first error of writing that was swallowed and is nobody's wish: not that of a pipe closed by its reader."""
    return next((error for error in _lost if error.errno not in NO_READER), None)


def plain(text: str, encoding: str | None = None) -> str:
    """The text as a stream of this encoding (None = stdout's) shows it."""
    codecs.register_error(PLAIN, _replaced)
    name = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(name, PLAIN).decode(name)


class _Raw(io.FileIO):
    """A descriptor whose errors of writing are remembered and not raised."""

    def write(self, data: Any, /) -> int:
        """All of it, or as much as can be written; the size of `data` in either case."""
        left = memoryview(data).cast("B")
        size = left.nbytes
        try:
            while left:
                written = super().write(left)
                if written is None:  # a pipe that somebody made non-blocking, and which is full
                    select.select([], [self], [])
                else:
                    left = left[written:]
        except OSError as error:
            _lost.append(error)
            if error.errno in NO_READER:
                # Also for what C code and the processes started from here still print: none may be ended by it.
                with contextlib.suppress(OSError):
                    null = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(null, self.fileno())
                    os.close(null)
        return size


def _settled(stream: TextIO | None, number: int) -> TextIO:
    if stream is None or getattr(stream, "closed", False):
        return _wrapped(number, "utf-8", line_buffering=False)
    buffer = getattr(stream, "buffer", None)
    if isinstance(buffer, _Raw) or isinstance(getattr(buffer, "raw", None), _Raw):
        return stream
    try:
        own = stream.fileno() == number and isinstance(stream, io.TextIOWrapper)
    except (OSError, ValueError):
        own = False
    if not own:
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    through = bool(getattr(stream, "write_through", False))
    return _wrapped(number, stream.encoding, getattr(stream, "line_buffering", False), through)


def _wrapped(number: int, encoding: str, line_buffering: bool, through: bool = False) -> io.TextIOWrapper:
    """through: as PYTHONUNBUFFERED asks for, each write goes out at once, with no buffer in between."""
    raw = _Raw(number, "w", closefd=False)
    buffer: Any = raw if through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, encoding=encoding, errors=PLAIN, line_buffering=line_buffering, write_through=through
    )


def _open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        # The lowest free number is the one asked for where those below it are open, which this loop's caller sees to.
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        else:
            os.set_inheritable(number, True)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ascii(letter) for letter in error.object[error.start : error.end]), error.end


def _ascii(letter: str) -> str:
    if letter in ASCII:
        return ASCII[letter]
    if letter.lower() in ASCII:
        return ASCII[letter.lower()].upper()
    if unicodedata.category(letter) in {"Mn", "Cf"}:
        return ""  # an accent of its own, a joiner
    apart = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return apart or "?"


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
    text = plain(text, getattr(stream, "encoding", None))
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
class Column:
    """One column of a table. `folds`: its words may stand below each other where the terminal is narrow."""

    heading: str
    right: bool = False
    folds: bool = False


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on stdout in which nothing is cut.

    At its natural width where that fits or where no terminal is; with columns folded where that fits; else as
    records: the first column's cell as a heading, and below it a line for each other cell that is not empty.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[plain(cell) for cell in row] for row in rows]
    table = Table(title=Text(plain(title)) if title else None, safe_box=True)
    for column in columns:
        table.add_column(
            Text(plain(column.heading)),
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
    print(_records(columns, cells, plain(title)))


def _records(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> str:
    first, *others = columns
    longest = max((len(column.heading) for column in others), default=0)
    lines = [folded(title, "  ")] if title else []
    for row in rows:
        lines.append(folded(f"{first.heading} {row[0]}".strip(), "  "))
        for column, cell in zip(others, row[1:], strict=True):
            if not cell.strip():
                continue
            name = plain(f"{column.heading}:") if column.heading else ""
            lines.append(folded(f"  {name:<{longest + 1}} {cell}", " " * (longest + 4)))
    return "\n".join(lines)


def _as_written() -> IO[str]:
    """stdout now: rich would look it up itself, but a test may have put another in its place."""
    return sys.stdout
