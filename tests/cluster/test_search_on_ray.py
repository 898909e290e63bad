"""Ray Tune over the space: whole or killed, the same best, the same tables."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import checkout
import pytest
import ray_level
import yaml
from processes import Running, finished, readings, stage

from pipeline.formats.search import load_best

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_what_a_search_leaves(searched: tuple[Path, str]) -> None:
    project, output = searched
    best = load_best(project / "artifacts" / "search")
    rows = checkout.table(project / "artifacts" / "search" / "trials.csv")
    found = checkout.table(project / "artifacts" / "search" / "readings.csv")
    assert len(rows) == 4
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["status"] for row in rows[:2]] == ["finished", "finished"], "nothing to be measured by"
    assert best.repeatable
    whole = {int(row["trial"]): float(row["score"]) for row in rows if row["status"] == "finished"}
    assert best.score == min(whole.values()) == whole[best.trial or 0]
    assert {key: float(rows[(best.trial or 0) - 1][key]) for key in best.overrides} == best.overrides
    assert {int(row["examples_seen"]) for row in found} == {320, 640}
    assert not list((project / ".work").glob("tune-*/trials")), "trials' checkpoints are gone"
    lines = output.splitlines()
    assert lines[0] == "4 trials of 640 examples, 2 side by side"
    assert all(line.startswith(f"trial {n} of 4: score ") for n, line in enumerate(lines[1:5], start=1))
    assert lines[5].startswith("best: dcgan at ")
    assert lines[5].endswith(f"(trial {best.trial} of trials.csv)")
    assert len(lines) == 6 + len(best.overrides), "and nothing else on the console"


def test_a_search_killed_again_and_again_ends_in_the_same_bytes(
    searched: tuple[Path, str], measured: Path, fork: Any
) -> None:
    """kill -9 of the driver in the first batch and in the second; of a trial's process in between."""
    project = fork(measured, {"tune.trials": 4})
    killed: list[Running] = []
    for count in (1, 5):
        running = stage(project, "tune")
        running.until(lambda least=count: readings(project) >= least)
        time.sleep(random.SystemRandom().uniform(0, 0.3))
        running.kill()
        killed.append(running)
        assert not (project / "artifacts" / "search").exists()
    running = stage(project, "tune")
    running.kill_until("a trial's process died; starting again from the journal", "ray::ImplicitFunc")
    assert running.wait() == 0, running.output
    assert "readings of a search that was interrupted" in running.output
    assert "Traceback" not in running.output
    assert running.survivors() == []
    assert [each.survivors() for each in killed] == [[], []]
    assert checkout.hashes(project, "search") == checkout.hashes(searched[0], "search")


def test_an_asynchronous_search_says_that_it_does_not_repeat(measured: Path, fork: Any) -> None:
    """Over choices so few that trials meet their doubles."""
    space = {"families.dcgan.latent": {"choice": [6, 8]}, "train.flip": {"choice": [True]}}
    project = fork(measured, {"tune.trials": 3, "tune.mode": "asynchronous", "tune.space": space, "families.dcgan": {}})
    text = (project / "params.yaml").read_text()
    params = yaml.safe_load(text)
    params["families"]["dcgan"] = {"preset": "digits", "generator_width": 4, "discriminator_width": 4}
    del params["train"]["flip"]
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    finished(project, "tune")
    best = load_best(project / "artifacts" / "search")
    assert not best.repeatable
    assert "another run may find other settings" in best.note
    assert len(checkout.table(project / "artifacts" / "search" / "trials.csv")) == 3


@pytest.mark.long
def test_trials_of_two_workers_are_the_same_trials(searched: tuple[Path, str], measured: Path, fork: Any) -> None:
    """Ray Train inside Ray Tune: other processes, the same scores, the same best; stopped ones let go of their CPUs."""
    project = fork(measured, {"tune.trials": 4, "tune.workers_per_trial": 2, "run.max_failures": 0})
    finished(project, "tune")
    assert checkout.hashes(project, "search") == checkout.hashes(searched[0], "search")


@pytest.mark.long
def test_a_worker_that_hangs_before_its_trial_begins(searched: tuple[Path, str], measured: Path, fork: Any) -> None:
    """Stopped, not killed, while the group of its trial is built: Ray itself would wait for it for ever."""
    keys = {"tune.trials": 4, "tune.workers_per_trial": 2, "run.collective_timeout": 10}
    project = fork(measured, keys)
    running = stage(project, "tune")
    assert ray_level.starting_worker_stopped(running, random.Random(3)) != ray_level.NOBODY
    assert running.wait(300) == 0, running.output
    assert "a worker does not start; all of them are started again" in running.output
    assert running.survivors(30) == []
    assert checkout.hashes(project, "search") == checkout.hashes(searched[0], "search")


def test_a_small_space_is_tried_out_and_a_sick_trial_is_a_reason(measured: Path, fork: Any) -> None:
    """Three settings for eight trials, one of which cannot be: it scores worst, and says why."""
    project = fork(measured, {"tune.trials": 8, "tune.startup": 8})
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["families"]["dcgan"] = {"preset": "digits", "generator_width": 4, "discriminator_width": 4, "latent": 8}
    params["tune"]["space"] = {"families.dcgan.generator.lr": {"choice": [1.0e-3, 1.0e-2, 1.0e30]}}
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    output = finished(project, "tune")
    rows = {
        float(row["families.dcgan.generator.lr"]): row
        for row in checkout.table(project / "artifacts/search/trials.csv")
    }
    assert f"{8 - len(rows)} of 8 trials repeat others, and were not run again" in output
    assert rows[1e30]["status"] == "failed"
    assert float(rows[1e30]["score"]) == 1e6
    assert "is not finite at" in rows[1e30]["reason"]
