"""The crash matrix: each fault at each stage of the DAG, under DVC as a user runs it.

Every cell ends with an exit code that is not 0, or in the expected bytes. Where it failed, `dvc.lock` is as it was and
`dvc status` says that the stage is to be run; run again, the stage ends in the bytes of an unbroken one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkout
import imported
import psutil
import pytest
import yaml
from processes import Running, alive, examples_seen, name, readings

STAGES = ("ingest", "reference", "tune", "train", "evaluate", "register")
ON_RAY = STAGES[:-1]
OUTS = {"ingest": "shards", "reference": "reference", "tune": "search", "train": "model", "evaluate": "report"}
REGISTRY = ("mlflow.db", "mlflow.db-registered", "mlflow.db-wal", "mlflow.db-shm", "mlruns", "mlartifacts")
# What each stage reads and would be wrong to believe when it is damaged.
INPUTS = {
    "ingest": "params.yaml",
    "reference": "artifacts/shards/train-000000.tar",
    "tune": "artifacts/shards/train-000001.tar",
    "train": "artifacts/shards/train-000001.tar",
    "evaluate": "artifacts/model/*.safetensors",
    "register": "artifacts/report/scores.json",
}
SETTINGS = {"train.lanes": 4, "train.examples": 3200, "run.num_workers": 1, "run.cache_megabytes": 0}
WITH_RAY = {"run.num_workers": 2, "run.spread_from": 0}
DISK = 96 * 2**20  # bytes of a disk that holds the project
LIMIT = 300  # seconds for a command


@dataclass
class Cell:
    """A project of which one stage is to be run, and what is done to it."""

    project: Path
    stage: str
    chance: random.Random
    running: Running | None = None
    mends: list[Callable[[], Any]] = field(default_factory=list[Callable[[], Any]])

    def start(self) -> Running:
        """`dvc repro` of the one stage, whether DVC thinks it has changed or not."""
        command = ("dvc", "repro", "--force", "--single-item", self.stage)
        self.running = Running(self.project, *command, env={"PYTHONUNBUFFERED": "1"})
        return self.running

    def at_work(self) -> Running:
        """Started, and in the midst of it."""
        running = self.start()
        running.until(lambda: self._busy(running))
        time.sleep(self.chance.uniform(0, 0.3))
        return running

    def workers(self, running: Running) -> list[psutil.Process]:
        """The stage's own processes: its supervisor, and the one that works."""
        return [each for each in running.descendants() if alive(each) and f"-m stages.{self.stage}" in name(each)]

    def _busy(self, running: Running) -> bool:
        if self.stage == "tune":
            return readings(self.project) > 0
        if self.stage == "train":
            return examples_seen(self.project) >= 320
        if self.stage == "register":
            return (self.project / "mlflow.db").exists()
        return len(running.output.partition(f"> python -m stages.{self.stage}")[2].strip()) > 0


def killed(cell: Cell) -> None:
    """kill -9 of the process that works."""
    running = cell.at_work()
    max(cell.workers(running), key=lambda each: each.create_time()).kill()


def dvc_killed(cell: Cell) -> None:
    cell.at_work().process.kill()


def terminated(cell: Cell) -> None:
    cell.at_work().process.send_signal(signal.SIGTERM)


def interrupted(cell: Cell) -> None:
    cell.at_work().press_ctrl_c()


def worker_killed(cell: Cell) -> None:
    """kill -9 of one of Ray's processes that work for the stage."""
    checkout.configure(cell.project, WITH_RAY)
    running = cell.start()
    titles = ("ray::RayTrainWorker", "ray::ImplicitFunc") if cell.stage in ("tune", "train") else ("ray::",)
    agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")

    def found() -> list[psutil.Process]:
        ours = [each for each in running.descendants() if alive(each) and name(each).startswith(titles)]
        return [each for each in ours if not name(each).startswith(agents)]

    cell.chance.choice(running.until(found)).kill()


def disk_full(cell: Cell) -> None:
    """The project's disk has room for some pages more, and no further."""
    free = os.statvfs(cell.project)
    room = cell.chance.choice([65_536, 131_072])
    filler = cell.project.parent / "filler"
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - room)))
    cell.mends.append(filler.unlink)
    cell.start()


def torn_input(cell: Cell) -> None:
    path = next(iter(sorted(cell.project.glob(INPUTS[cell.stage]))))
    kept = path.read_bytes()
    damage(path)
    cell.mends.append(lambda: path.write_bytes(kept))
    cell.start()


def torn_output(cell: Cell) -> None:
    """What a finished stage has made is damaged afterwards; here nothing fails, and DVC has to see it."""
    running = cell.start()
    assert running.wait(LIMIT) == 0, running.output
    out = cell.project / "artifacts" / OUTS.get(cell.stage, "curves/registration/registration.json")
    found = out.rglob("*") if out.is_dir() else [out]
    damage(cell.chance.choice(sorted(path for path in found if path.is_file() and path.stat().st_size)))


def torn_scratch(cell: Cell) -> None:
    """Killed, and what it had written to go on from is torn as well: a journal's end, the newest checkpoint."""
    killed(cell)
    assert cell.running is not None
    cell.running.wait(LIMIT)
    scratch = cell.project / ".work"
    if cell.stage == "tune":
        journal = next(scratch.glob("tune-*/journal.jsonl"))
        journal.write_bytes(journal.read_bytes()[:-7])
    else:
        newest = max(scratch.glob("train-*/checkpoints/[0-9]*"))
        damage(cell.chance.choice([path for path in newest.iterdir() if path.stat().st_size]))


def edited(cell: Cell) -> None:
    """A source file is saved while the stage runs: DVC would take the new one for what was run."""
    path = cell.project / "stages" / f"{cell.stage}.py"
    kept = path.read_bytes()
    cell.at_work()
    path.write_bytes(kept + b"EDITED = 1\n")
    cell.mends.append(lambda: path.write_bytes(kept))


def damage(path: Path) -> None:
    """The middle of the file becomes zeros, as where a page was never written."""
    data = bytearray(path.read_bytes())
    start, stop = len(data) // 4, max(len(data) // 4 + 1, len(data) // 2)
    data[start:stop] = bytes(stop - start)
    path.write_bytes(data)


Fault = Callable[[Cell], None]
FAULTS: Mapping[str, tuple[Fault, tuple[str, ...]]] = {
    "kill -9": (killed, STAGES),
    "kill -9 of dvc": (dvc_killed, STAGES),
    "SIGTERM": (terminated, STAGES),
    "Ctrl-C": (interrupted, STAGES),
    "worker killed": (worker_killed, ON_RAY),
    "disk full": (disk_full, STAGES),
    "torn input": (torn_input, STAGES),
    "torn output": (torn_output, STAGES),
    "torn scratch": (torn_scratch, ("tune", "train")),
    "edited": (edited, STAGES),
}
CELLS = [(fault, stage) for fault, (_, stages) in FAULTS.items() for stage in stages]
# One cell for each fault and one for each stage, with the quick ones where there is a choice.
SAMPLE = {
    ("kill -9", "evaluate"),
    ("kill -9 of dvc", "ingest"),
    ("SIGTERM", "reference"),
    ("Ctrl-C", "ingest"),
    ("worker killed", "tune"),
    ("disk full", "reference"),
    ("torn input", "register"),
    ("torn output", "ingest"),
    ("torn scratch", "train"),
    ("edited", "ingest"),
}


def complete(project: Path) -> str:
    """A project in which all stages have run under DVC; what that printed. `imported`, beside it, has their modules."""
    checkout.copy(project, SETTINGS)
    env = imported.noting(project.parent / "imported", checkout.environment(project))
    done = checkout.run(project, "dvc", "repro", timeout=600, env=env)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run(whole: Path, folder: Path, fault: str, stage: str, chance: random.Random) -> None:
    """One cell: AssertionError where it does not end as the matrix promises."""
    project = fork(whole, folder, stage, own_disk=fault == "disk full")
    cell, before = Cell(project, stage, chance), (project / "dvc.lock").read_bytes()
    FAULTS[fault][0](cell)
    running = cell.running
    assert running is not None
    code = running.wait(LIMIT)
    assert running.survivors() == [], running.output
    if code == 0 and fault != "torn output":
        same(whole, project, stage)
        return
    if code:
        assert (project / "dvc.lock").read_bytes() == before, "DVC took note of a stage that failed"
    # Ended by kill -9 of DVC itself, or on a disk without room, even its lock files may be left as they are.
    for mend in cell.mends:
        mend()
    assert stage in status(project, stage), f"dvc status says that nothing is to be done:\n{running.output}"
    again = checkout.run(project, "dvc", "repro", "--single-item", stage, timeout=LIMIT)
    assert again.returncode == 0, f"{running.output}\nand again:\n{again.stdout}"
    assert "Traceback" not in again.stdout, again.stdout
    same(whole, project, stage)


def fork(whole: Path, folder: Path, stage: str, own_disk: bool = False) -> Path:
    """A copy whose stage has left neither outs nor scratch, though DVC has them in its lock.

    Nor is there DVC's cache, from which it would put them back instead of running the stage.
    """
    if own_disk:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a disk of its own takes the right to mount one")
    project = folder / "project"
    shutil.copytree(whole, project, symlinks=True, ignore=shutil.ignore_patterns(".work", "*.log"))
    shutil.rmtree(project / ".dvc" / "cache")
    if stage == "register":
        for left in REGISTRY:
            path = project / left
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    else:
        shutil.rmtree(project / "artifacts" / OUTS[stage])
    return project


def release(folder: Path) -> None:
    """Give a disk of its own back, if there is one."""
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def status(project: Path, stage: str) -> dict[str, Any]:
    """What `dvc status` says of the stage."""
    done = checkout.run(project, "dvc", "status", "--json", stage)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout[done.stdout.index("{") :])


def same(whole: Path, project: Path, stage: str) -> None:
    """The stage's outs, and DVC's account of it, are those of a run without a fault."""
    if stage == "register":
        with contextlib.closing(sqlite3.connect(project / "mlflow.db")) as registry:
            versions = registry.execute("select version, status from model_versions").fetchall()
        assert versions == [(1, "READY")], versions
        made = json.loads((project / "artifacts/curves/registration/registration.json").read_text())
        expected = json.loads((whole / "artifacts/curves/registration/registration.json").read_text())
        assert (made["version"], made["aliases"]) == (expected["version"], expected["aliases"]), made
    else:
        assert checkout.hashes(project, OUTS[stage]) == checkout.hashes(whole, OUTS[stage]), "other bytes"
    assert account(project, stage) == account(whole, stage), "another account in dvc.lock"


def account(project: Path, stage: str) -> dict[str, Any]:
    """The stage in dvc.lock, but what holds times."""
    found: dict[str, Any] = yaml.safe_load((project / "dvc.lock").read_text())["stages"][stage]
    found["outs"] = [out for out in found["outs"] if "/curves/" not in out["path"]]
    return found
