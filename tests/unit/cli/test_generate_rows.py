"""Rows of a table: what `zerosum generate` writes, what the API gives, and what the report shows."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import tables

import zerosum as zs
from pipeline.cli import generate as work
from pipeline.errors import UserError
from pipeline.reporting import table_view
from pipeline.reporting.report import ReportInputs, render
from pipeline.sampling.samples import open_model


def request(**keys: tuple[str, ...]) -> work.SampleRequest:
    return work.SampleRequest(0, 1.0, **keys)


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


@pytest.mark.parametrize("conditional", [False, True])
def test_a_csv_has_the_columns_order_and_formats_of_the_source(conditional: bool, tmp_path: Path) -> None:
    tables.publish(tmp_path / "model", conditional)
    written = work.generate(str(tmp_path / "model"), tmp_path / "out", 70, request())
    assert written.grid is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["samples.csv"]
    header, rows = read(tmp_path / "out" / "samples.csv")
    assert header == (["weight", "ill", "job", "age"] if conditional else ["weight", "job", "age"])
    assert len(rows) == 70
    for row in rows:
        named = dict(zip(header, row, strict=True))
        assert re.fullmatch(r"-?\d+\.\d", named["weight"])
        assert re.fullmatch(r"(-?\d+)?", named["age"])
        assert named["job"] in {"'-none-", "cook", "nurse"}  # what a spreadsheet would take for a formula is guarded
    assert "" in {row[-1] for row in rows}
    if conditional:
        assert [row[1] for row in rows[:4]] == ["no", "yes", "no", "yes"]
    again = work.generate(str(tmp_path / "model"), tmp_path / "again", 70, request())
    assert again == written
    assert (tmp_path / "again/samples.csv").read_bytes() == (tmp_path / "out/samples.csv").read_bytes()


def test_a_class_is_asked_for_and_a_grid_is_refused(tmp_path: Path) -> None:
    tables.publish(tmp_path / "model", True)
    work.generate(str(tmp_path / "model"), tmp_path / "out", 3, request(labels=("yes",)))
    assert [row[1] for row in read(tmp_path / "out" / "samples.csv")[1]] == ["yes"] * 3
    with pytest.raises(UserError, match="--grid: rows of a table have no grid"):
        work.generate(str(tmp_path / "model"), tmp_path / "out", 3, request(), tmp_path / "grid.png")


def test_the_api_gives_a_frame(tmp_path: Path) -> None:
    tables.publish(tmp_path / "model", True)
    model = zs.load(tmp_path / "model")
    frame = model.table(5, label="no", seed=3)
    assert list(frame) == ["weight", "ill", "job", "age"]
    assert set(frame["ill"]) == {"no"}
    assert model.sample(5, label="no", seed=3).shape == (5, 6)
    assert float(frame["weight"][0]) == round(float(model.sample(5, label="no", seed=3)[0, 0]) * 10 + 70, 1)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_report_shows_rows_marginals_and_what_goes_together(conditional: bool, tmp_path: Path) -> None:
    tables.publish(tmp_path / "model", conditional)
    source, _ = open_model(tmp_path / "model")
    view = table_view.build(source, tables.Rows(), 0, 1.0)
    assert view is not None
    assert [chart.title for chart in view.marginals] == ["weight", "job", "age"] + ["class"] * conditional
    assert len(view.real) == len(view.generated) == table_view.SHOWN
    page = render(ReportInputs("a table", [], table=view))
    assert page.count("<svg") == len(view.marginals) + 2
    assert page == render(ReportInputs("a table", [], table=table_view.build(source, tables.Rows(), 0, 1.0)))
    assert "<h2>Samples</h2>" not in page
