"""The streams of a process: what goes to them never costs the work, shows no secret and commands no terminal."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import re
import select
import sys
import unicodedata
from typing import Any, TextIO, cast

from pipeline.redaction import redact, visible

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
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_lost: list[OSError] = []


def settle() -> None:
    """Make stdout and stderr of this process harmless; called first thing by whatever has a `main`.

    Characters that a stream's encoding lacks are written as readable ASCII (× as x, é as e, others as ?). What cannot
    be written at all (the reader of a pipe has gone, the disk is full, the stream is closed) is lost and raises
    nothing; `lost` tells of it. A descriptor that is closed is opened on /dev/null, so that no file of ours gets its
    number and with it what C code prints. Control characters are written as \\xNN, but for the colours of a terminal,
    and stderr shows no secret of the environment or of an address. Streams that are no descriptor of their own, as a
    test's, are left.
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


def terminal(stream: TextIO) -> TextIO:
    """The same stream for what draws by control sequences of its own: bars, and lines that are replaced."""
    return cast(TextIO, _Drawn(stream)) if isinstance(stream, _Text) else stream


class _Text(io.TextIOWrapper):
    """A stream whose control characters are visible, and whose secrets are not where `redacted`."""

    redacted = False

    def write(self, text: str, /) -> int:
        """All of it; the length of `text`."""
        parts = _COLOUR.split(text) if self.isatty() else [text]
        shown = "".join(part if index % 2 else visible(part) for index, part in enumerate(parts))
        super().write(redact(shown) if self.redacted else shown)
        return len(text)

    def draw(self, text: str) -> int:
        """The text with its control sequences."""
        return super().write(redact(text) if self.redacted else text)


class _Drawn:
    """A `_Text` whose `write` is `draw`."""

    def __init__(self, stream: _Text) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.draw(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


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
    stream = _Text(buffer, encoding=encoding, errors=PLAIN, line_buffering=line_buffering, write_through=through)
    stream.redacted = number == 2
    return stream


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
