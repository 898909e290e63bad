"""One line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from pipeline.contract import Record
from pipeline.training.progress import ConsoleReporter, found_scores, parts


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


def line(record: Record, total: int, scores: list[tuple[float, int | None]]) -> str:
    return "  ".join(parts(record, total, scores).values())


def test_the_line() -> None:
    assert line(record(1000), 2000, []) == LINE
    assert "frechet 12.35  ETA" in line(record(1000), 2000, [(12.345, None)])
    assert "frechet 12.35 (at 1,640)  ETA" in line(record(1000), 2000, [(12.345, 1640)])
    assert line({"examples_seen": 5}, 9, []).startswith("        5 / 9 examples")


def test_parts_keep_their_order_whichever_phase_a_tick_began_with() -> None:
    """A lazy penalty may be the first or the last that a tick meets, and the histories of both are alike."""
    phases = {"penalty/total": 2.5, "penalty/gradient_norm": 7.0}
    first, last = {**phases, **record(1000)}, {**record(1000), **phases}
    assert line(first, 2000, []) == line(last, 2000, [])
    assert "loss discriminator 1.250 generator 0.750 penalty 2.500" in line(first, 2000, [])
    assert "|grad| 3 0.12 7 " in line(first, 2000, [])


def test_scores_are_found_with_their_readings() -> None:
    assert found_scores({"examples_seen": 9, "frechet": 1.0, "frechet@8": 2.0, "frechet@4": 3.0, "recall@4": 0.5}) == [
        (3.0, 4),
        (2.0, 8),
        (1.0, None),
    ]
    assert found_scores(record(1000)) == []


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


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (200, "{}  frechet 7.00  ETA 1:02:05"),
        (
            110,
            "    1,000 / 2,000 examples  1,234/s  loss discriminator 1.250 generator 0.750  frechet 7.00  ETA 1:02:05",
        ),
        (80, "    1,000 / 2,000 examples  1,234/s  frechet 7.00  ETA 1:02:05"),
        (60, "    1,000 / 2,000 examples  frechet 7.00  ETA 1:02:05"),
        (43, "    1,000 / 2,000 examples  frechet 7.00"),
        (21, "    1,000 / 2,000 ex"),
    ],
)
def test_a_line_never_wraps(columns: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What wraps cannot be written over; whole parts give way, the distance and the time to go last."""
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    ConsoleReporter(2000, stream).tick({**record(1000), "frechet": 7.0})
    assert stream.getvalue() == "\r" + shown.format(LINE.rpartition("  ETA")[0])


def test_a_score_stands_in_the_line_of_its_reading_alone() -> None:
    stream = io.StringIO()
    reporter = ConsoleReporter(3000, stream)
    reporter.tick({**record(500), "frechet": 3.0})
    reporter.tick(record(1000))
    reporter.tick({**record(1500), "frechet@1000": 2.0, "frechet": 1.0})
    lines = stream.getvalue().splitlines()
    assert [each.count("frechet") for each in lines] == [1, 0, 2]
    assert "frechet 2.00 (at 1,000)  frechet 1.00  ETA" in lines[2]


def test_on_a_terminal_the_last_score_stays_and_says_of_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    reporter = ConsoleReporter(3000, stream)
    reporter.tick({**record(500), "frechet": 3.0})
    reporter.tick(record(1000))
    reporter.tick({**record(1500), "frechet@1000": 2.0})
    lines = stream.getvalue().split("\r")[1:]
    assert "frechet 3.00  ETA" in lines[0]
    assert "frechet 3.00 (at 500)" in lines[1]
    assert "frechet 2.00 (at 1,000)" in lines[2]
