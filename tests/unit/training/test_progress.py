"""One line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from pipeline.contract import Record
from pipeline.training.progress import ConsoleReporter, describe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(seen: int) -> Record:
    return {
        "examples_seen": seen,
        "discriminator/total": 1.25,
        "discriminator/real": 0.5,
        "discriminator/fake": -0.5,
        "discriminator/gradient_norm": 3.0,
        "generator/total": 0.75,
        "generator/gradient_norm": 0.125,
        "examples_per_second": 1234.0,
        "eta_seconds": 3725.0,
    }


LINE = (
    "    1,000 / 2,000 examples  1,234/s  loss discriminator 1.250 generator 0.750"
    "  D(real) +0.50 D(fake) -0.50  |grad| 3 0.12  ETA 1:02:05"
)


def test_the_line() -> None:
    assert describe(record(1000), 2000, None) == LINE
    assert "frechet 12.35" in describe(record(1000), 2000, 12.345)
    assert describe({"examples_seen": 5}, 9, None).startswith("        5 / 9 examples")


def test_elsewhere_a_line_a_tick() -> None:
    stream = io.StringIO()
    reporter = ConsoleReporter(2000, stream)
    reporter.tick(record(1000))
    reporter.note("a note")
    reporter.tick({**record(2000), "frechet": 7.0})
    lines = stream.getvalue().splitlines()
    assert lines[:2] == [LINE, "a note"]
    assert "frechet 7.00" in lines[2]
    assert "\r" not in stream.getvalue()


def test_on_a_terminal_one_line_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    reporter = ConsoleReporter(2000, stream)
    reporter.tick(record(1000))
    assert stream.getvalue() == "\r" + LINE
    reporter.note("a note")
    assert stream.getvalue().endswith("\r" + " " * len(LINE) + "\ra note\n")
    reporter.tick(record(1500))
    assert stream.getvalue().count("\n") == 1, "the line is moved, not added to"
    reporter.tick(record(2000))
    assert stream.getvalue().endswith("\n")


def test_a_shorter_line_covers_the_longer_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    reporter = ConsoleReporter(9000, stream)
    reporter.tick(record(1000))
    length = len(stream.getvalue())
    reporter.tick({"examples_seen": 2000})
    assert len(stream.getvalue()) == 2 * length


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What wraps cannot be written over."""
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    ConsoleReporter(2000, stream).tick(record(1000))
    assert stream.getvalue() == "\r" + LINE[:59]


def test_the_last_score_stays_on_the_line() -> None:
    stream = io.StringIO()
    reporter = ConsoleReporter(2000, stream)
    reporter.tick({**record(500), "frechet": 3.0})
    reporter.tick(record(1000))
    assert stream.getvalue().splitlines()[1].count("frechet 3.00") == 1
