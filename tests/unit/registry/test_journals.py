"""What a job told of itself, in MLflow: each line once, however often it is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.registry import journals
from pipeline.registry.store import opened

pytestmark = [  # MLflow's own, as in tests/flow/test_registry.py
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FIRST = {"kind": "job", "at": 1000.0, "job": "zerosum-train-0a-1", "stage": "train", "lineage": {"git_commit": "abc"}}
TICKS: list[dict[str, Any]] = [
    {
        "kind": "tick",
        "at": 1001.5 + number,
        "values": {"examples_seen": 320 * number, "loss": 0.5 * number, "family": "dcgan", "grown": True},
    }
    for number in (1, 2)
]
END = {"kind": "end", "at": 1010.25, "code": 0, "seconds": 10.2}


@pytest.mark.parametrize("torn", ['{"kind": "ti', "", "null", "[1]"])
def test_a_torn_line_and_what_follows_is_left_out(torn: str) -> None:
    whole = "".join(json.dumps(line) + "\n" for line in (FIRST, *TICKS))
    assert journals.parsed(f"{whole}{torn}\n{json.dumps(END)}") == [FIRST, *TICKS]
    assert journals.parsed("") == []


@pytest.mark.parametrize(
    "odd",
    [
        {"kind": 1, "at": 1.0},
        {"kind": "tick"},
        {"kind": "tick", "at": "soon"},
        {"kind": "tick", "at": 1e300},
        {"kind": "tick", "at": float("nan")},
        {"kind": "tick", "at": 1.0, "values": [1]},
        {"kind": "end", "at": 1.0, "code": "0"},
    ],
)
def test_a_line_of_another_form_and_what_follows_is_left_out(odd: dict[str, Any]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in (FIRST, odd, END))
    assert journals.parsed(text) == [FIRST]
    assert journals.parsed(text, "zerosum-train-0a-1") == [FIRST]


@pytest.mark.parametrize("first", [TICKS[0], {**FIRST, "job": "another' OR 'x'='x"}, {"kind": "job", "at": 1.0}])
def test_a_journal_of_another_job_is_none(first: dict[str, Any]) -> None:
    assert journals.parsed(json.dumps(first) + "\n" + json.dumps(END), "zerosum-train-0a-1") == []


def test_numbers_that_no_database_holds_are_left_out() -> None:
    values = {"examples_seen": 1e300, "loss": 1.0, "grown": 10**400, f"late@{'9' * 5000}": 2.0}
    found = journals._metrics([{"kind": "tick", "at": 1.0, "values": values}])
    assert [(each.value, each.step) for each in found] == [(1.0, 0), (2.0, 0)]
    assert list(journals._metrics([{"kind": "reading", "at": 1.0, "values": {"examples_seen": float("nan")}}])) == []


def test_a_score_that_came_late_stands_at_its_reading() -> None:
    values = {"examples_seen": 960, "frechet@640": 3.0, "frechet": 2.0, "loss": 1.0}
    found = journals._metrics([{"kind": "tick", "at": 1.0, "values": values}])
    assert [(each.key, each.value, each.step) for each in found] == [
        ("frechet", 3.0, 640),
        ("frechet", 2.0, 960),
        ("loss", 1.0, 960),
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose MLflow is shared: each test has a job of its own."""
    return tmp_path_factory.mktemp("project")


@pytest.mark.slow
def test_a_job_as_it_goes(root: Path) -> None:
    first = journals.record(root, "toy-jobs", [FIRST, TICKS[0]])
    with opened(root) as store:
        run = store.client.get_run(first)
        assert run.info.status == "RUNNING"
        assert run.info.run_name == "zerosum-train-0a-1"
        assert (run.info.start_time, run.data.tags["zerosum.stage"]) == (1_000_000, "train")
        assert run.data.tags["lineage.git_commit"] == "abc"
    lines = [FIRST, *TICKS, END]
    assert journals.record(root, "toy-jobs", lines, known=2) == first
    # A workstation that died, and follows again, knows of none.
    assert journals.record(root, "toy-jobs", lines, ended="FAILED") == first
    with opened(root) as store:
        run = store.client.get_run(first)
        assert (run.info.status, run.info.end_time) == ("FINISHED", 1_010_250)
        points = store.client.get_metric_history(first, "loss")
        assert [(each.step, each.value, each.timestamp) for each in points] == [
            (320, 0.5, 1_002_500),
            (640, 1.0, 1_003_500),
        ]
        assert run.data.metrics == {"loss": 1.0, "seconds": 10.2}, "no words, no truth values, no clock"


@pytest.mark.slow
@pytest.mark.parametrize(("code", "status"), [(1, "FAILED"), (137, "FAILED"), (143, "KILLED"), (None, "KILLED")])
def test_how_a_job_ended(code: int | None, status: str, root: Path) -> None:
    lines: list[dict[str, Any]] = [{**FIRST, "job": f"ended-{code}"}, *TICKS]
    if code is not None:
        lines.append({**END, "code": code})
    found = journals.record(root, "toy-jobs", lines, ended="KILLED" if code is None else "FAILED")
    with opened(root) as store:
        assert store.client.get_run(found).info.status == status


@pytest.mark.slow
def test_a_curve_for_each_trial_of_a_search(root: Path) -> None:
    readings = [
        {
            "kind": "reading",
            "at": 1001.0 + number,
            "values": {"trial": trial, "reading": 0, "examples_seen": 320, "score": score, "config": {"lr": 1}},
        }
        for number, (trial, score) in enumerate([("aa", 3.5), ("bb", 2.5)])
    ]
    found = journals.record(root, "toy-jobs", [{**FIRST, "job": "zerosum-tune-0b-1", "stage": "tune"}, *readings])
    with opened(root) as store:
        assert store.client.get_run(found).data.metrics == {"score/aa": 3.5, "score/bb": 2.5}
