"""Chaos on real Ray: stages of a small project killed, stopped and damaged at random moments, then run again."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import checkout
import psutil
from loop_level import Injection
from processes import Running, alive, name, stage

STAGES = ("ingest", "reference", "tune", "train", "evaluate")
SAME = ("shards", "reference", "search", "model", "report/metrics.json")
LIMIT = 240  # seconds for a stage


def prepare(folder: Path) -> Path:
    """A small project that has run through without a fault: what every other run is compared with, and begins as."""
    project = folder / "expected"
    if not (project / "artifacts/report/metrics.json").exists():
        shutil.rmtree(project, ignore_errors=True)
        checkout.copy(project, {"train.lanes": 4, "train.examples": 6400})
        for each in STAGES:
            running = stage(project, each)
            if running.wait(LIMIT):
                raise RuntimeError(running.output)
    return project


def fresh(expected: Path, folder: Path, which: str) -> Path:
    """A copy with everything up to the stage `which`, and no scratch."""
    project = folder / f"{which}-{time.monotonic_ns()}"
    shutil.copytree(expected, project, symlinks=True, ignore=shutil.ignore_patterns(".work"))
    outs = {"ingest": "shards", "evaluate": "report", "train": "model", "tune": "search", "reference": "reference"}
    shutil.rmtree(project / "artifacts" / outs[which])
    return project


def driver_killed(running: Running, chance: random.Random) -> str:
    running.kill()
    return "kill -9 of the driver"


def supervisor_killed(running: Running, chance: random.Random) -> str:
    running.process.kill()
    return "kill -9 of the supervisor"


def worker_killed(running: Running, chance: random.Random) -> str:
    titles = ("ray::RayTrainWorker", "ray::_RayTrainWorker", "ray::ImplicitFunc", "ray::run", "ray::")
    for title in titles:
        found = [each for each in running.descendants() if alive(each) and name(each).startswith(title)]
        if found:
            victim = chance.choice(found)
            with contextlib.suppress(psutil.NoSuchProcess):
                said = name(victim)[:40]
                victim.kill()
                return f"kill -9 of {said}"
    return driver_killed(running, chance)


def raylet_killed(running: Running, chance: random.Random) -> str:
    found = [each for each in running.descendants() if "raylet/raylet" in name(each)]
    if not found:
        return driver_killed(running, chance)
    found[0].kill()
    return "kill -9 of the raylet"


def interrupted(running: Running, chance: random.Random) -> str:
    running.process.send_signal(signal.SIGINT)
    return "SIGINT"


def terminated(running: Running, chance: random.Random) -> str:
    running.process.send_signal(signal.SIGTERM)
    return "SIGTERM"


FAULTS: dict[str, Callable[[Running, random.Random], str]] = {
    "driver killed": driver_killed,
    "supervisor killed": supervisor_killed,
    "worker killed": worker_killed,
    "raylet killed": raylet_killed,
    "interrupted": interrupted,
    "terminated": terminated,
}


def attack(expected: Path, folder: Path, which: str, faults: list[str], chance: random.Random) -> list[Injection]:
    """A stage under these faults, one a start, then left alone. `survived`: its outs have the expected bytes."""
    project, done = fresh(expected, folder, which), list[Injection]()
    usual = {"ingest": 4.0, "reference": 5.0, "tune": 14.0, "train": 12.0, "evaluate": 6.0}[which]
    outputs = ""
    orphans: list[str] = []
    for fault in faults:
        running = stage(project, which)
        begun, moment = time.monotonic(), chance.uniform(0.5, usual)
        while running.process.poll() is None and time.monotonic() - begun < moment:
            time.sleep(0.02)
        injection = Injection(f"{which}: {fault}")
        if running.process.poll() is None:
            injection.said = FAULTS[fault](running, chance)
        else:
            injection.said = "it had ended before"
        hit = time.monotonic()
        with contextlib.suppress(Exception):
            running.wait(LIMIT)
        injection.seconds = time.monotonic() - hit
        orphans += running.survivors(70)
        outputs += running.output
        done.append(injection)
        if running.process.returncode == 0:
            break
    final = stage(project, which)
    code = final.wait(LIMIT)
    orphans += final.survivors(30)
    same = code == 0 and checkout.hashes(project, *SAME) == checkout.hashes(expected, *SAME)
    for injection in done:
        injection.survived = same and not orphans
        if not injection.survived:
            injection.said += f"; code {code}, orphans {orphans}, {final.output[-400:]}"
    if same and not orphans:
        shutil.rmtree(project)
    else:
        print(f"kept for a look: {project}", file=sys.stderr)
    return done
