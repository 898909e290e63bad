"""Ray Train around the loop: more workers or fewer, whole or killed, the same bytes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import checkout
import psutil
import pytest
from processes import alive, examples_seen, finished, name, stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_console_shows_progress_and_nothing_else(trained: tuple[Path, str]) -> None:
    project, output = trained
    first, second, *ticks, last = output.splitlines()
    assert first == "dcgan, 4 lanes on 2 workers"
    assert re.fullmatch(
        r"scored every 640 examples on 64 samples; as many draws of train score [\d.]+ ± [\d.e-]+", second
    )
    assert last == "published artifacts/model"
    assert len(ticks) == 30
    assert all(re.match(r" +[\d,]+ / 9,600 examples  [\d,]+/s  loss ", line) for line in ticks)
    marker = json.loads((project / ".work" / "train.json").read_text())
    assert marker["examples_seen"] == 9600
    assert marker["pid"] > 0
    assert not list((project / ".work").glob("train-*/ray")), "Ray's own storage is gone"


@pytest.mark.long
def test_one_worker_ends_in_the_same_bytes_and_no_environment_decides_where(
    trained: tuple[Path, str], unsearched: Path, fork: Any
) -> None:
    """RAY_ADDRESS names a cluster that is none: an empty `run.address` means a private Ray."""
    project = fork(unsearched, {"run.num_workers": 1})
    finished(project, "train", {"RAY_ADDRESS": "127.0.0.1:1"})
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


def test_scores_made_beside_training_are_the_same_scores(
    trained: tuple[Path, str], unsearched: Path, fork: Any
) -> None:
    """By a task of their own: the history has the bytes of the one made in step.

    The driver is killed on the way, what Ray itself wrote down of the run is torn.
    """
    project = fork(unsearched, {"run.score_beside": "always"})
    running = stage(project, "train")
    # Ray's controller writes when it has next polled, which may be many ticks later.
    record = "train-*/ray/train-*/checkpoint_manager_snapshot.json"
    (torn,) = running.until(lambda: list((project / ".work").glob(record)))
    running.kill()
    torn.write_bytes(torn.read_bytes()[:40])
    assert "going on from the checkpoint" in finished(project, "train")
    assert not list((project / ".work").glob("train-*/ray"))
    answers = list((project / ".work").glob("train-*/snapshots/*.json"))
    assert len(answers) == 15
    assert not list((trained[0] / ".work").glob("train-*/snapshots/*"))
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


def test_killed_workers_are_replaced(trained: tuple[Path, str], unsearched: Path, fork: Any) -> None:
    """kill -9 of a training worker, and of the actor that carries the progress."""
    project = fork(unsearched)
    running = stage(project, "train")
    running.until(lambda: examples_seen(project) >= 320)
    time.sleep(random.SystemRandom().uniform(0, 0.5))
    assert kill_one(running.descendants(), "ray::ProgressActor")
    assert kill_one(running.descendants(), "ray::RayTrainWorker", "ray::_RayTrainWorker")
    assert running.wait() == 0, running.output
    assert running.survivors() == []
    assert "going on from the checkpoint" in running.output or "9,600 / 9,600" in running.output
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


def kill_one(processes: list[psutil.Process], *titles: str) -> bool:
    found = [each for each in processes if alive(each) and name(each).startswith(titles)]
    if found:
        os.kill(found[0].pid, signal.SIGKILL)
    return bool(found)
