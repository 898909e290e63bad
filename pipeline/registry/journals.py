"""What a job told of itself, as an MLflow run of its own: metrics as they came, lineage, how it ended.

Not the run that is registered: that one has the model and all of its settings, and comes with the register stage.
Here also those jobs are found that failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ConfigDict, Field, ValidationError

from pipeline.errors import Damaged
from pipeline.registry.store import TrackingStore, opened
from pipeline.registry.tracking import experiment_id, log_metrics, number, plain
from pipeline.storage.damage import parse_json
from pipeline.storage.forms import Form

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

JOB_TAG = "zerosum.job"
CLOCK = "examples_seen"
LATE = re.compile(r"(.+)@(\d{1,18})")
LATEST = 1e11  # seconds since 1970
LARGEST_STEP = 2**63
Line = Mapping[str, Any]


class _LineForm(Form):
    """What is read of a line; it comes through a store, to which others may write."""

    model_config = ConfigDict(extra="ignore")

    kind: str
    at: float = Field(ge=0, le=LATEST)
    values: dict[str, Any] = Field(default_factory=lambda: {})
    lineage: dict[str, str] = Field(default_factory=lambda: {})
    code: int = 0


def parsed(text: str, job: str | None = None) -> list[dict[str, Any]]:
    """The journal's lines up to the first that is torn; none of them where it is not the journal of `job`."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            entry = parse_json(line)
            _LineForm.model_validate(entry)
        except (Damaged, ValidationError):
            break
        found.append(cast(dict[str, Any], entry))
    first = found[0] if found else {}
    named = {"kind", "job", "stage", "lineage"} <= set(first) and (job is None or first["job"] == job)
    return found if named else []


def record(root: Path, experiment: str, lines: Sequence[Line], known: int = 0, ended: str | None = None) -> str:
    """Bring the job's run up to date, made where there is none; returns its id.

    lines: the whole journal. known: how many of its lines were recorded before. What is there already is left, so
    that any part may be recorded again. ended: the run's status where the journal has no end.

    Raises:
        UserError: if the MLflow store cannot be used, or the lines do not begin with the job.
    """
    with opened(root, create=True) as store, store.locked("a job's metrics"):
        run = _run(store, experiment_id(store, experiment), lines[0])
        log_metrics(store, run.info.run_id, list(_metrics(lines[known:])))
        end = next((line for line in lines if line["kind"] == "end"), None)
        if end is not None:
            status = "FINISHED" if end["code"] == 0 else "KILLED" if end["code"] in {130, 143} else "FAILED"
            store.client.set_terminated(run.info.run_id, status, _milliseconds(end))
        elif ended is not None:
            store.client.set_terminated(run.info.run_id, ended)
        return run.info.run_id


def _run(store: TrackingStore, experiment: str, first: Line) -> Run:
    job = str(first["job"])
    found = store.client.search_runs([experiment], f"tags.`{JOB_TAG}` = '{job}'", max_results=1)
    if found:
        return found[0]
    tags = {
        JOB_TAG: job,
        "zerosum.stage": str(first["stage"]),
        **{f"lineage.{name}": str(value) for name, value in first["lineage"].items()},
    }
    return store.client.create_run(experiment, run_name=job, tags=tags, start_time=_milliseconds(first))


def _metrics(lines: Sequence[Line]) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for line in lines:
        values = line.get("values") or {}
        clock = number(values.get(CLOCK)) or 0.0
        step = int(clock) if 0 <= clock < LARGEST_STEP else 0
        for name, value in (*values.items(), ("seconds", line.get("seconds"))):
            found = number(value)
            if found is not None and name not in {CLOCK, "reading"}:
                # A curve for each trial of a search.
                called = f"{name}/{values.get('trial')}" if line["kind"] == "reading" else name
                # A score that came after the tick of its reading: `frechet@640`.
                late = LATE.fullmatch(name) if line["kind"] == "tick" else None
                called, at = (late[1], int(late[2])) if late else (called, step)
                yield Metric(plain(called), found, _milliseconds(line), at)


def _milliseconds(line: Line) -> int:
    return round(1000 * line["at"])
