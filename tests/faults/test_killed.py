"""Killed anywhere, a stage that is run again ends in the bytes of an unbroken one, and leaves nobody behind."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import checkout
import pytest
from processes import Running, examples_seen, finished, readings, stage

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_training_killed_twice(trained: tuple[Path, str], unsearched: Path, fork: Any) -> None:
    """kill -9 of the driver at two random moments; the second start goes on, not from the beginning."""
    project = fork(unsearched)
    killed: list[Running] = []
    for least in (320, 640):
        running = stage(project, "train")
        running.until(lambda enough=least: examples_seen(project) >= enough)
        time.sleep(random.SystemRandom().uniform(0, 0.4))
        assert running.kill() == 128 + signal.SIGKILL
        assert "train: ended by SIGKILL" in running.output
        killed.append(running)
        assert not (project / "artifacts" / "model").exists()
    assert "going on from the checkpoint at" in finished(project, "train")
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")
    assert [each.survivors() for each in killed] == [[], []]


def test_an_interrupted_search(searched: tuple[Path, str], measured: Path, fork: Any) -> None:
    """Its exit code is not zero, it says one sentence, leaves nobody and nothing, and can be run again."""
    project = fork(measured, {"tune.trials": 4})
    running = stage(project, "tune")
    running.until(lambda: readings(project) >= 1)
    running.process.send_signal(signal.SIGINT)
    assert running.wait(60) == 130, running.output
    assert running.survivors() == []
    assert "Traceback" not in running.output
    assert "tune: interrupted; run it again to go on" in running.output
    assert not (project / "artifacts" / "search").exists()
    finished(project, "tune")
    assert checkout.hashes(project, "search") == checkout.hashes(searched[0], "search")


@pytest.mark.parametrize("how", ["sigint", "sigterm"])
def test_an_interrupted_training(how: str, unsearched: Path, fork: Any) -> None:
    project = fork(unsearched)
    running = stage(project, "train")
    running.until(lambda: examples_seen(project) >= 320)
    running.process.send_signal(signal.SIGINT if how == "sigint" else signal.SIGTERM)
    assert running.wait(60) == (130 if how == "sigint" else 143), running.output
    assert running.survivors() == []
    assert "Traceback" not in running.output
    assert not (project / "artifacts" / "model").exists()


@pytest.fixture(scope="module")
def committed(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose shards and reference DVC knows, a search ahead."""
    import shutil

    project = tmp_path_factory.mktemp("committed") / "project"
    shutil.copytree(measured, project, symlinks=True)
    checkout.configure(project, {"tune.trials": 4})
    done = checkout.run(project, "dvc", "repro", "reference")
    assert done.returncode == 0, done.stdout
    return project


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm", "kill"])
def test_dvc_records_no_broken_search(how: str, committed: Path, searched: tuple[Path, str], fork: Any) -> None:
    """Whatever ends `dvc repro tune`: dvc.lock is as before, the stage dies with it, and the next one goes on."""
    project = fork(committed)
    before = (project / "dvc.lock").read_bytes()
    running = Running(project, "dvc", "repro", "tune")
    running.until(lambda: readings(project) >= 1)
    if how == "ctrl-c":
        running.press_ctrl_c()
    else:
        running.process.send_signal(signal.SIGTERM if how == "sigterm" else signal.SIGKILL)
    assert running.wait(60) != 0
    assert running.survivors() == []
    assert (project / "dvc.lock").read_bytes() == before
    assert not (project / "artifacts" / "search" / "best.yaml").exists()
    if how == "kill":
        done = checkout.run(project, "dvc", "repro", "tune")
        assert done.returncode == 0, done.stdout
        assert "replaying" in done.stdout
        assert checkout.hashes(project, "search") == checkout.hashes(searched[0], "search")
