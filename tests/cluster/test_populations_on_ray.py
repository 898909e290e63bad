"""A population on Ray Tune, larger than the CPUs: whole or killed, the same best; trained by, the winner's weights."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import checkout
import pytest
from processes import finished, readings, stage

from pipeline.formats.checkpoint import CheckpointStore
from pipeline.formats.search import load_best

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

POPULATION: dict[str, Any] = {
    "tune.trials": 4,
    "tune.mode": "population",
    "tune.examples": 960,
    "tune.interval": 320,
    "tune.seed": 0,
    "run.concurrent_trials": 2,
}


@pytest.fixture(scope="module")
def evolved(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An unbroken search by a population of four over two CPUs, and what it printed."""
    project = tmp_path_factory.mktemp("evolved") / "project"
    shutil.copytree(measured, project, symlinks=True)
    checkout.configure(project, POPULATION)
    return project, finished(project, "tune")


def test_what_a_population_leaves(evolved: tuple[Path, str]) -> None:
    project, output = evolved
    best = load_best(project / "artifacts" / "search")
    rows = checkout.table(project / "artifacts" / "search" / "trials.csv")
    found = checkout.table(project / "artifacts" / "search" / "readings.csv")
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    assert {(row["status"], row["examples_seen"]) for row in rows} == {("finished", "960")}
    assert len(found) == 12
    assert sorted(bool(row["cloned"]) for row in found if row["examples_seen"] == "320") == [False, False, False, True]
    assert best.repeatable
    assert best.score == min(float(row["score"]) for row in rows)
    assert len(best.schedule) == int(rows[(best.trial or 0) - 1]["changes"]) > 0
    assert {entry["from"] for entry in best.schedule} <= {320, 640}
    assert not list((project / ".work").glob("tune-*/trials")), "members' checkpoints are gone"
    lines = output.splitlines()
    assert lines[0] == "a population of 4, each of 960 examples, compared every 320"
    assert [line[:13] for line in lines[1:3]] == ["round 1 of 3:", "round 2 of 3:"]
    assert sorted(line[:14] for line in lines[3:7]) == [f"member {n} of 4:" for n in range(1, 5)]
    assert len(lines) == 8 + len(best.overrides), "and nothing else on the console"


@pytest.mark.long
def test_killed_on_the_way_it_ends_in_the_same_bytes(evolved: tuple[Path, str], measured: Path, fork: Any) -> None:
    """kill -9 of the driver in the second round; then of a member's process."""
    project = fork(measured, POPULATION)
    killed = stage(project, "tune")
    killed.until(lambda: readings(project) >= 5)
    killed.kill()
    assert not (project / "artifacts" / "search").exists()
    running = stage(project, "tune")
    running.kill_until("a trial's process died; starting again from the journal", "ray::entry_of")
    assert running.wait() == 0, running.output
    assert "readings of a search that was interrupted" in running.output
    assert "Traceback" not in running.output
    assert [*running.survivors(), *killed.survivors()] == []
    assert checkout.hashes(project, "search") == checkout.hashes(evolved[0], "search")


@pytest.mark.long
def test_a_training_of_that_length_comes_to_the_winners_weights(evolved: tuple[Path, str], fork: Any) -> None:
    """Killed once, on two workers; the score is on the same samples as the search's."""
    project = fork(evolved[0], {"train.examples": 960, "train.score.every": 320})
    best = load_best(project / "artifacts" / "search")
    running = stage(project, "train")
    running.until(lambda: any(project.glob(".work/train-*/checkpoints/000000000320")))
    running.kill()
    output = finished(project, "train")
    changes = ", ".join(str(entry["from"]) for entry in best.schedule)
    assert f"settings change at {changes} examples" in output
    with (project / "artifacts" / "model" / "history.tsv").open(newline="") as file:
        last = list(csv.DictReader(file, delimiter="\t"))[-1]
    assert float(last["frechet"]) == best.score
    card = json.loads((project / "artifacts" / "model" / "model.json").read_text())
    assert card["examples_seen"] == 960
    (folder,) = project.glob(".work/train-*/checkpoints")
    assert CheckpointStore(folder).numbered()[-1].name == "000000000960"


@pytest.mark.long
def test_members_of_two_workers_are_the_same_members(evolved: tuple[Path, str], measured: Path, fork: Any) -> None:
    """Ray Train inside a task: one at a time, as the CPUs have room; the same best. Twelve groups of workers."""
    project = fork(measured, {**POPULATION, "tune.workers_per_trial": 2, "run.concurrent_trials": 1})
    finished(project, "tune", timeout=600)
    assert checkout.hashes(project, "search") == checkout.hashes(evolved[0], "search")
