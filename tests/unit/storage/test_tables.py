from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.storage import tables

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "'=1", "''+1"])
def test_no_cell_of_text_is_a_formula(tmp_path: Path, text: str) -> None:
    tables.write(tmp_path / "t.csv", ("item",), [(text,)])

    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        _, (cell,) = csv.reader(file)
    assert cell == f"'{text}"
    assert tables.read(tmp_path / "t.csv") == [{"item": text}]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    tables.write(tmp_path / "t.csv", ("a", "b"), [(-0.5, -3), (0.1 + 0.2, 1e-07)])

    assert (tmp_path / "t.csv").read_bytes() == b"a,b\n-0.5,-3\n0.30000000000000004,1e-07\n"


@pytest.mark.parametrize("delimiter", [",", "\t"])
@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, delimiter: str, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    tables.write(path, ("=one", "two"), rows, delimiter)

    assert tables.read(path, delimiter) == [{"=one": one, "two": two} for one, two in rows]


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert tables.read(tmp_path / "none.csv") == []
