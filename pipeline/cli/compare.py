"""`zerosum compare`: runs' scores side by side, where they were measured alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli import project
from pipeline.console import ShownColumn, folded, show_table
from pipeline.errors import UserError
from pipeline.formats.report import ScoreRecord, load_scores, parse, unlike
from pipeline.settings import home
from pipeline.storage import files

REPORT = Path("artifacts") / "report"
MARK = "≠"


@dataclass(frozen=True)
class Row:
    """One score of every run, None where a run lacks it; `unlike` = where protocols differ from the first's."""

    name: str
    records: tuple[ScoreRecord | None, ...]
    unlike: tuple[str, ...]


def compare(runs: Sequence[str], anyway: bool = False) -> list[Row]:
    """A row for each score, in the first run's order.

    Raises:
        UserError: for a run that cannot be read, or protocols that differ (unless `anyway`), naming what does.
    """
    if len(runs) < 2:
        raise UserError("name two runs or more: report folders, JSON files, models:/NAME/VERSION or MLflow run ids")
    read = [{record.name: record for record in records(run)} for run in runs]
    names = list(dict.fromkeys(name for each in read for name in each))
    rows = [_row(name, [each.get(name) for each in read]) for name in names]
    shared = [row for row in rows if sum(record is not None for record in row.records) > 1]
    if not shared:
        held = "; ".join(f"{run}: {', '.join(each)}" for run, each in zip(runs, read, strict=True))
        raise UserError(f"these runs share no score, so that nothing can be compared ({held})")
    differing = _gathered(shared)
    if differing and not anyway:
        raise UserError(
            f"these were measured by unlike protocols (first | other): {'; '.join(differing)}. "
            "Measure them alike, or see them side by side with --anyway"
        )
    return rows


def records(run: str) -> list[ScoreRecord]:
    """The records of a report folder, a project, a JSON file, a registered version or an MLflow run.

    Raises:
        UserError: if it is none of these.
    """
    path = Path(home(run))
    if path.is_dir():
        folder = next(
            (each for each in (path, path / REPORT, path / "report") if (each / "scores.json").is_file()), None
        )
        if folder is None:
            raise UserError(f"{run} holds no scores.json: it is neither a report nor a project with one")
        return load_scores(folder)
    if path.is_file():
        return parse(files.read_json(path, "`zerosum score --json`"), run)
    from pipeline.registry.records import MODELS, RUN, of_run, of_version
    from pipeline.registry.store import opened

    if not run.startswith(MODELS) and not RUN.fullmatch(run):
        raise UserError(f"{run}: there is no such folder or file, and it is neither {MODELS}NAME/VERSION nor a run id")
    with opened(project.root()) as store:
        return of_version(store, run) if run.startswith(MODELS) else of_run(store, run)


def _row(name: str, found: Sequence[ScoreRecord | None]) -> Row:
    first = next(record for record in found if record is not None)
    differing = [line for record in found if record is not None for line in unlike(first, record)]
    return Row(name, tuple(found), tuple(dict.fromkeys(differing)))


def _gathered(rows: Sequence[Row]) -> list[str]:
    """Each difference once, with the scores that it concerns."""
    concerned: dict[str, list[str]] = {}
    for row in rows:
        for line in row.unlike:
            concerned.setdefault(line, []).append(row.name)
    every = len([row for row in rows if row.unlike])
    return [
        line if len(names) == every and every > 1 else f"{line} ({', '.join(names)})"
        for line, names in concerned.items()
    ]


def show(rows: Sequence[Row], runs: Sequence[str], as_json: bool) -> None:
    """The table, or JSON, on stdout."""
    if as_json:
        content = {"runs": list(runs), "scores": [_json(row) for row in rows]}
        print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
        return
    cells: list[tuple[str, ...]] = []
    for row in rows:
        mark = f"{MARK} " if row.unlike else ""
        cells.append((f"{mark}{row.name}", *(_value(record) for record in row.records)))
    show_table([ShownColumn("score"), *(ShownColumn(run, right=True) for run in runs)], cells)
    for line in _gathered(rows):
        print(folded(f"{MARK} {line}", "  "))


def _value(record: ScoreRecord | None) -> str:
    if record is None:
        return "–"
    spread = "" if record.spread is None else f" ± {record.spread:.2g}"
    return f"{record.value:.6g}{spread}{' ⚠' if record.warnings else ''}"


def _json(row: Row) -> dict[str, Any]:
    each = [None if record is None else record.to_json() for record in row.records]
    return {"name": row.name, "unlike": list(row.unlike), "records": each}
