"""Progress a person reads: one line that moves on a terminal, plain lines everywhere else."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from pipeline.contract import Record


class ConsoleReporter:
    """A `Reporter` that writes to a stream; `total` is the examples to be seen in all."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._width = 0
        self._score: float | None = None

    def tick(self, record: Record) -> None:
        """One line: examples, rate, losses, critic outputs, gradient norms, distance, time to go."""
        score = record.get("frechet")
        if isinstance(score, float):
            self._score = score
        line = describe(record, self._total, self._score)
        if self._live:
            # A line that wraps could not be written over.
            line = line[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
            if int(record.get("examples_seen") or 0) >= self._total:
                self._stream.write("\n")
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def note(self, message: str) -> None:
        """A sentence on a line of its own."""
        start = "\r" + " " * self._width + "\r" if self._live and self._width else ""
        self._width = 0
        self._stream.write(f"{start}{message}\n")
        self._stream.flush()


def describe(record: Record, total: int, score: float | None) -> str:
    """The line of a tick."""
    seen = int(record.get("examples_seen") or 0)
    parts = [f"{seen:>9,} / {total:,} examples", f"{_number(record, 'examples_per_second'):,.0f}/s"]
    losses = [f"{name.split('/')[0]} {value:.3f}" for name, value in _floats(record, "/total")]
    parts.append("loss " + " ".join(losses))
    real, fake = _floats(record, "/real"), _floats(record, "/fake")
    if real and fake:
        parts.append(f"D(real) {real[0][1]:+.2f} D(fake) {fake[0][1]:+.2f}")
    norms = [f"{value:.2g}" for _, value in _floats(record, "/gradient_norm")]
    parts.append("|grad| " + " ".join(norms))
    if score is not None:
        parts.append(f"frechet {score:.2f}")
    parts.append(f"ETA {_clock(_number(record, 'eta_seconds'))}")
    return "  ".join(parts)


def _floats(record: Record, ending: str) -> list[tuple[str, float]]:
    return [(name, value) for name, value in record.items() if name.endswith(ending) and isinstance(value, float)]


def _number(record: Record, name: str) -> float:
    value = record.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
