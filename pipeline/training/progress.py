"""Progress a person reads: one line that moves on a terminal, plain lines everywhere else."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from pipeline.contract import Record
from pipeline.redaction import visible
from pipeline.streams import terminal

SCORE = re.compile(r"frechet(?:@(\d+))?")
Scores = Sequence[tuple[float, int | None]]
"""Each with the examples of its reading; None where that is the tick's own."""


class ConsoleReporter:
    """A `Reporter` that writes to a stream; `total` is the examples to be seen in all."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = terminal(stream or sys.stdout)
        self._live = self._stream.isatty()
        self._width = 0
        self._last: tuple[float, int] | None = None

    def tick(self, record: Record) -> None:
        """One line: examples, rate, losses, outputs of D, gradient norms, distance, time to go.

        A distance stands in the line at which it came, with the examples of its reading where that was an earlier
        one. On a terminal, where the line is the only one, the last distance stays, marked in the same way.
        """
        scores = found_scores(record)
        seen = int(record.get("examples_seen") or 0)
        if scores:
            value, at = scores[-1]
            self._last = (value, seen if at is None else at)
        if self._live:
            # A line that wraps could not be written over.
            shown = scores[-1:] or ([self._last] if self._last else [])
            line = fitted(parts(record, self._total, shown), shutil.get_terminal_size().columns - 1)
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
            if seen >= self._total:
                self._stream.write("\n")
        else:
            self._stream.write("  ".join(parts(record, self._total, scores).values()) + "\n")
        self._stream.flush()

    def note(self, message: str) -> None:
        """A sentence on a line of its own."""
        start = "\r" + " " * self._width + "\r" if self._live and self._width else ""
        self._width = 0
        self._stream.write(f"{start}{visible(message)}\n")
        self._stream.flush()


def found_scores(record: Record) -> list[tuple[float, int | None]]:
    """The distances that came with a tick, those of earlier readings first."""
    found = [(SCORE.fullmatch(name), value) for name, value in record.items() if isinstance(value, float)]
    scores = [(value, int(named[1]) if named[1] else None) for named, value in found if named]
    return sorted(scores, key=lambda score: (score[1] is None, score[1] or 0))


def parts(record: Record, total: int, scores: Scores) -> dict[str, str]:
    """The line of a tick in its parts, the same order in every line whichever phases a tick had.

    Losses, and in the same order gradient norms, are sorted by the names of their phases.
    """
    seen = int(record.get("examples_seen") or 0)
    found = {
        "examples": f"{seen:>9,} / {total:,} examples",
        "rate": f"{_number(record, 'examples_per_second'):,.0f}/s",
        "losses": "loss " + " ".join(f"{name.split('/')[0]} {value:.3f}" for name, value in _floats(record, "/total")),
    }
    real, fake = _floats(record, "/real"), _floats(record, "/fake")
    if real and fake:
        found["outputs"] = f"D(real) {real[0][1]:+.2f} D(fake) {fake[0][1]:+.2f}"
    found["norms"] = "|grad| " + " ".join(f"{value:.2g}" for _, value in _floats(record, "/gradient_norm"))
    if scores:
        found["scores"] = "  ".join(
            f"frechet {value:.2f}" + ("" if at is None else f" (at {at:,})") for value, at in scores
        )
    found["left"] = f"ETA {_clock(_number(record, 'eta_seconds'))}"
    return found


def fitted(found: dict[str, str], width: int) -> str:
    """The parts that a line of this width holds whole: what tells least goes first; cut where one alone is wider."""
    left = dict(found)
    for name in ("norms", "outputs", "losses", "rate", "left", "scores"):
        if len("  ".join(left.values())) <= width:
            break
        left.pop(name, None)
    return "  ".join(left.values())[:width]


def _floats(record: Record, ending: str) -> list[tuple[str, float]]:
    found = [(name, value) for name, value in record.items() if name.endswith(ending) and isinstance(value, float)]
    return sorted(found)


def _number(record: Record, name: str) -> float:
    value = record.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
