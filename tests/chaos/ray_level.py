"""Chaos on a private Ray: stages of a small project killed, stopped, poisoned and damaged, then run again."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import checkout
import objects
import poison
import psutil
import troubled
from loop_level import Injection
from processes import Running, alive, examples_seen, name, stage

from pipeline.cluster.training import validation

STAGES = ("ingest", "reference", "tune", "train", "evaluate")
SAME = ("shards", "reference", "search", "model", "report/metrics.json")
OUTS = {"ingest": "shards", "reference": "reference", "tune": "search", "train": "model", "evaluate": "report"}
USUAL = {"ingest": 4.0, "reference": 5.0, "tune": 14.0, "train": 12.0, "evaluate": 6.0}  # seconds
LIMIT = 300  # seconds for a stage
# Long enough for several faults, and with ticks that are no checkpoints: only a notice makes one at the next tick.
LONG = {"train.examples": 32_000, "train.checkpoint": 6400}
TICK = 320  # examples
NAN_AT = 3264  # examples: just past a checkpoint
# Time enough for a rank that is slow, and little for one that hangs.
SETTINGS = {"train.lanes": 4, "train.examples": 6400, "run.collective_timeout": 30, "run.max_failures": 8}
SETTINGS |= {"run.spread_from": 0}  # so that the stages which measure and score have workers too
WORKERS = ("ray::RayTrainWorker", "ray::_RayTrainWorker")
AT_WORK = (*WORKERS, "ray::ImplicitFunc", "ray::run", "ray::")
RECORD = "checkpoint_manager_snapshot.json"  # Ray Train's
NOBODY = "there was nobody to strike"
DRIVER = "kill -9 of the driver"
ENDING = (DRIVER, "SIGINT", "SIGTERM")  # who ends in spite of these had ended before
NEWBORN = "kill -9 of a worker as it was born"
KNOWN = ", which Ray knew already"  # so that it waited for nobody
Hashes = Mapping[str, str]
Victim = TypeVar("Victim")


def code_key() -> str:
    """Twelve digits of a hash of the code under test: what an older code was expected to make is not kept."""
    digest = hashlib.sha256()
    for room in ("pipeline", "stages"):
        for path in sorted((checkout.ROOT / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def prepare(folder: Path) -> Path:
    """A small project that has run through without a fault: what every other run is compared with, and begins as."""
    project = folder / f"expected-{code_key()}"
    if not (project / "artifacts/report/metrics.json").exists():
        for stale in folder.glob("expected-*"):
            shutil.rmtree(stale)
        checkout.copy(project, SETTINGS)
        for each in STAGES:
            ended(stage(project, each))
        poison.plug_in(project)
    return project


def with_nan(expected: Path) -> Path:
    """The same, trained by one worker that meets a NaN once."""
    project = expected.with_name(f"{expected.name}-nan")
    if not (project / "artifacts/model").exists():
        shutil.rmtree(project, ignore_errors=True)
        fresh(expected, project, "train")
        checkout.configure(project, {"run.num_workers": 1})
        ended(stage(project, "train", poison.told(project, "nan", NAN_AT, 0)))
    return project


def lengthened(expected: Path) -> Path:
    """The same, with a longer training."""
    project = expected.with_name(f"{expected.name}-long")
    if not (project / "artifacts/model").exists():
        shutil.rmtree(project, ignore_errors=True)
        fresh(expected, project, "train")
        checkout.configure(project, LONG)
        ended(stage(project, "train"))
    return project


def ended(running: Running) -> None:
    """A run in which nothing is to go wrong."""
    if running.wait(LIMIT):
        raise RuntimeError(running.output)


def fresh(expected: Path, project: Path, which: str) -> Path:
    """A copy with everything but what the stage `which` makes, and no scratch."""
    shutil.copytree(expected, project, symlinks=True, ignore=shutil.ignore_patterns(".work"))
    shutil.rmtree(project / "artifacts" / OUTS[which])
    return project


# --- faults that strike from outside, at any moment; each says what it did --------------------------


def driver_killed(running: Running, chance: random.Random) -> str:
    running.kill()
    return DRIVER


def supervisor_killed(running: Running, chance: random.Random) -> str:
    running.process.kill()
    return "kill -9 of the supervisor"


def worker_killed(running: Running, chance: random.Random) -> str:
    """Of those that are there the ones that train, else whoever works for Ray; who came too early waits for one."""
    found = awaited(running, lambda: next(filter(None, (titled(running, (each,)) for each in AT_WORK)), []))
    return killed(chance.choice(found)) if found else NOBODY


def raylet_killed(running: Running, chance: random.Random) -> str:
    found = awaited(running, lambda: [each for each in running.descendants() if "raylet/raylet" in name(each)])
    return killed(found[0], "the raylet") if found else NOBODY


def killed(victim: psutil.Process, what: str = "") -> str:
    try:
        said = f"kill -9 of {what or name(victim)[:40].strip()}"
        victim.kill()
    except psutil.NoSuchProcess:
        return NOBODY  # it ended meanwhile, and nothing was injected
    return said


def awaited(running: Running, victims: Callable[[], list[Victim]], pause: float = 0.02) -> list[Victim]:
    """Whom a fault may strike, as soon as there is anybody; nobody, if the stage ends before, or after two minutes."""
    end = time.monotonic() + 120
    while not (found := victims()):
        if running.process.poll() is not None or time.monotonic() > end:
            return []
        time.sleep(pause)
    return found


def worker_stopped(running: Running, chance: random.Random) -> str:
    """A rank that hangs while it trains, as on a machine that swaps or has lost its network."""
    found = awaited(running, lambda: titled(running, WORKERS) if examples_seen(running.project) >= TICK else [])
    if not found:
        return NOBODY
    time.sleep(chance.uniform(0, 3))
    return stopped(found, chance)


def starting_worker_stopped(running: Running, chance: random.Random) -> str:
    """One that hangs before the group of workers is whole: Ray waits for each of them without a limit."""
    found = awaited(running, lambda: titled(running, WORKERS), 0.01)
    if not found:
        return NOBODY
    time.sleep(chance.uniform(0, 1))
    return stopped(found, chance)


def newborn_killed(running: Running, chance: random.Random) -> str:
    """One of the processes that Ray starts before it lets its driver in: Ray 2.60 then waits for it for ever."""
    found = awaited(running, lambda: titled(running, ("ray::IDLE",)), 0.002)
    return NEWBORN if found and killed(found[0]) != NOBODY else NOBODY


def record_torn(running: Running, chance: random.Random) -> str:
    """The driver killed, and what Ray wrote down of the run damaged: its record, or a checkpoint that it names."""
    scratch = running.project / ".work"
    found = awaited(running, lambda: list(scratch.glob(f"train-*/ray/train-*/{RECORD}")))
    if not found:
        return NOBODY
    time.sleep(chance.uniform(0, 2))
    folder = found[0].parent
    if running.process.poll() is not None or not found[0].exists():
        return NOBODY  # it ended meanwhile, and nothing was injected
    running.kill()
    running.survivors(70)
    checkpoints = sorted(folder.glob("checkpoint_*"))
    what = chance.choice(["its record torn", *(["a checkpoint torn", "a checkpoint gone"] if checkpoints else [])])
    checkpoint = chance.choice(checkpoints or [folder])
    if what == "a checkpoint gone":
        shutil.rmtree(checkpoint)
    else:
        path = found[0] if what == "its record torn" else checkpoint / validation.POINTER
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
    return f"{DRIVER}, {what}"


def stopped(found: Sequence[psutil.Process], chance: random.Random) -> str:
    try:
        chance.choice(found).suspend()
    except psutil.NoSuchProcess:
        return NOBODY  # it ended meanwhile, and nothing was injected
    return "a worker stopped in its tracks"


def interrupted(running: Running, chance: random.Random) -> str:
    running.process.send_signal(signal.SIGINT)
    return "SIGINT"


def terminated(running: Running, chance: random.Random) -> str:
    running.process.send_signal(signal.SIGTERM)
    return "SIGTERM"


def titled(running: Running, titles: Sequence[str]) -> list[psutil.Process]:
    """Living processes of the stage by the names that Ray gives them."""
    return [each for each in running.descendants() if alive(each) and name(each).startswith(tuple(titles))]


STRIKES: dict[str, Callable[[Running, random.Random], str]] = {
    "driver killed": driver_killed,
    "supervisor killed": supervisor_killed,
    "worker killed": worker_killed,
    "raylet killed": raylet_killed,
    "interrupted": interrupted,
    "terminated": terminated,
}
# These a training alone has: what its ranks do to each other, and its checkpoints in an object store.
POISONS = {"NaN on one rank": "nan", "diverged rank": "diverge", "hung collective": "hang"}
# These wait for their moment themselves.
WAITING: dict[str, Callable[[Running, random.Random], str]] = {
    "worker stopped": worker_stopped,
    "starting worker stopped": starting_worker_stopped,
    "newborn worker killed": newborn_killed,
    "torn record": record_torn,
}
OF_TRAINING = (*WAITING, *POISONS, "S3 errors")
FAULTS: tuple[str, ...] = (*STRIKES, *OF_TRAINING)


def faults_of(which: str) -> tuple[str, ...]:
    return FAULTS if which == "train" else tuple(STRIKES)


def attack(expected: Path, folder: Path, which: str, faults: Sequence[str], chance: random.Random) -> list[Injection]:
    """A stage under these faults, one a start, then left alone. `survived`: its outs have the expected bytes."""
    project = fresh(expected, folder / f"{which}-{time.monotonic_ns()}", which)
    accepted = [checkout.hashes(expected, *SAME)]
    if "NaN on one rank" in faults:
        # Killed between the NaN and the next checkpoint, a run goes on as if it had never been.
        accepted.append(checkout.hashes(with_nan(expected), *SAME))
    done, orphans, last = list[Injection](), list[str](), 0
    with contextlib.ExitStack() as stack:
        trouble = troubled.Trouble(str(chance.random()))
        if "torn record" in faults:
            checkout.configure(project, {"run.score_beside": "always"})  # by Ray's reports, which make the record
        if "S3 errors" in faults:
            storage = stack.enter_context(objects.troubled_s3(trouble))
            checkout.configure(project, {"run.storage": storage})
        for fault in faults:
            if fault == "S3 errors":
                trouble.begin(troubled.ERRORS, chance.uniform(0.02, 0.1))
            running, injection = struck(project, which, fault, chance)
            trouble.calm()
            orphans += running.survivors(70)
            if injection.struck:
                done.append(injection)
            if (last := running.process.returncode) == 0:
                break
        if last or not done:
            running = stage(project, which, elsewhere(project))
            last = within(running, done[-1:])
            orphans += running.survivors(30)
    verify(project, done, accepted, orphans, last)
    return done


def struck(project: Path, which: str, fault: str, chance: random.Random) -> tuple[Running, Injection]:
    """A stage started, hit, and awaited."""
    injection = Injection(f"{which}: {fault}")
    environment, marker = elsewhere(project), None
    if fault in POISONS:
        kind = POISONS[fault]
        at = NAN_AT if kind == "nan" else chance.randrange(640, 5760)
        environment |= poison.told(project, kind, at, chance.randrange(4))
        marker = project / f"{kind}.done"
        marker.unlink(missing_ok=True)
    running = stage(project, which, environment)
    begun, moment = time.monotonic(), chance.uniform(0.5, USUAL[which])
    if fault in WAITING:
        moment = 0.0
    while running.process.poll() is None and time.monotonic() - begun < (LIMIT if marker else moment):
        if marker and marker.exists():
            break
        time.sleep(0.02)
    if marker or fault == "S3 errors":
        injection.said, injection.struck = fault, marker is None or marker.exists()
    elif running.process.poll() is None:
        injection.said = {**STRIKES, **WAITING}[fault](running, chance)
        injection.struck = injection.said != NOBODY
    else:
        injection.struck = False
    hit = time.monotonic()
    # What the fault cost, at most: a standstill, or all that this start had done.
    progress = (lambda: examples_seen(project)) if which == "train" else (lambda: 0)
    injection.seconds = standstill(running, progress, LIMIT)
    if code := within(running, [injection], LIMIT - (time.monotonic() - hit)):
        injection.seconds = time.monotonic() - begun
    if fault == "starting worker stopped" and "a worker does not start" not in running.output:
        injection.said += ", and nobody noticed"
    if injection.said == NEWBORN and "Ray did not start within" not in running.output:
        injection.said += KNOWN
    injection.struck &= not (injection.said in ENDING and code == 0)
    injection.said += f" (exit code {code})"
    return running, injection


def standstill(running: Running, progress: Callable[[], int], limit: float, enough: float = math.inf) -> float:
    """The longest time in seconds from now on until there was more than before.

    Not the first: ticks of before the fault may still be on their way. enough: with so much more it is over for sure.
    """
    begun = last = time.monotonic()
    first = seen = progress()
    longest = 0.0
    while running.process.poll() is None and (now := time.monotonic()) - begun < limit and seen < first + enough:
        if (found := progress()) > seen:
            longest, last, seen = max(longest, now - last), now, found
        time.sleep(0.02)
    return longest if seen > first else time.monotonic() - begun


def elsewhere(project: Path) -> dict[str, str]:
    """A cache of the project's own: what a node has fetched from a store."""
    return {"ZEROSUM_CACHE": str(project / ".work" / "node")}


def within(running: Running, injections: Sequence[Injection], limit: float = LIMIT) -> int:
    """The exit code, within the limit in seconds; who takes longer hangs."""
    try:
        return running.wait(max(0.0, limit))
    except subprocess.TimeoutExpired:
        for injection in injections:
            injection.hung = True
        return running.process.wait(30)


def verify(project: Path, done: Sequence[Injection], accepted: Sequence[Hashes], orphans: list[str], code: int) -> None:
    """Say of every injection what became of the run; a run that is as expected leaves nothing behind."""
    found = checkout.hashes(project, *SAME)
    for injection in done:
        injection.wrong_bytes = code == 0 and found not in accepted
        injection.orphans = len(orphans)
        injection.survived = code == 0 and not injection.wrong_bytes and not orphans and not injection.hung
        injection.survived &= "nobody" not in injection.said
        if not injection.survived:
            injection.said += f"; code {code}, orphans {orphans}, {project}"
    if all(injection.survived for injection in done):
        shutil.rmtree(project)
    else:
        print(f"kept for a look: {project}", file=sys.stderr)
