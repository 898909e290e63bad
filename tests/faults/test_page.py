"""docs/faults.md names every fault that is tried, and quotes what is really said."""

from __future__ import annotations

import re
from pathlib import Path

import chaos
import matrix
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
CODES = {"0", "1", "2", "3", "130", "137", "143"}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_every_fault_that_is_tried_has_a_row() -> None:
    named = {name for row in rows() for name in row[-1].split(", ")}
    assert named == {*chaos.LOOP, *chaos.RAY, *chaos.CLUSTER, *matrix.FAULTS}


def test_exit_codes_are_those_of_a_stage() -> None:
    assert all(len(row) == 5 and set(row[2].split("; ")) <= CODES for row in rows())


def said() -> list[str]:
    quoted = [text for row in rows() for text in re.findall(r"`([^`]*)`", row[1])]
    # Settings and commands are in the same type.
    return [text for text in quoted if " " in text and not text.startswith(("dvc ", "run.num", "run.max"))]


@pytest.mark.parametrize("text", said())
def test_what_is_quoted_is_what_the_code_says(text: str) -> None:
    sources = "".join(path.read_text() for room in ("pipeline", "stages") for path in (ROOT / room).rglob("*.py"))
    # Literals that go on in the next line, and values, are one text here.
    joined = re.sub(r'"\s*f?"', "", sources)
    plain = re.sub(r"\{[^{}]*\}", "…", joined)
    pieces = [piece for piece in text.split("…") if len(piece.strip()) > 3]
    assert pieces
    assert all(piece.strip(" ;:,") in plain for piece in pieces), [p for p in pieces if p.strip(" ;:,") not in plain]
