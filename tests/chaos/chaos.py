"""`make chaos`: seeded faults at random moments over many short runs; every run has to end in the expected bytes.

    CHAOS_SEED=1 CHAOS_RUNS=200 CHAOS_MINUTES=20 make chaos

CHAOS_RUNS counts injections over all calls with one seed; CHAOS_MINUTES bounds a call. Results are appended to
`.work/chaos/<seed>.jsonl`, so that a later call goes on; the sums are printed and written to `.work/chaos/<seed>.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cluster_level
import clusters
import loop_level
import objects
import ray_level
from loop_level import Injection, Training
from processes import hear_interrupts
from troubled import Trouble

from pipeline.storage import files

ROOT = Path(__file__).parents[2]
SHARE_OF_RAY = 0.2  # of the injections
SHARE_OF_CLUSTERS = 0.3  # of the runs on Ray
NAN_AT = 656  # just past a checkpoint, however far apart they are

# How often each fault is drawn: those that cost minutes less often than those that cost seconds.
LOOP = {
    "worker killed": 4,
    "node killed": 3,
    "preempted": 3,
    "hung rank": 2,
    "torn checkpoint": 4,
    "litter": 2,
    "clock": 2,
    "disk full": 2,
    "diverged rank": 2,
    "S3 errors": 1,
    "S3 slow": 1,
    "S3 gone": 1,
}
RAY = {
    "driver killed": 3,
    "supervisor killed": 2,
    "worker killed": 3,
    "raylet killed": 2,
    "interrupted": 2,
    "terminated": 2,
    "worker stopped": 1,
    "starting worker stopped": 1,
    "newborn worker killed": 1,
    "torn record": 2,
    "NaN on one rank": 2,
    "diverged rank": 2,
    "hung collective": 1,
    "S3 errors": 1,
}
CLUSTER = {"node killed": 3, "preempted": 3, "object store full": 2, "head killed": 2, "starting worker stopped": 1}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=["loop", "ray", "both"], default="both")
    level = parser.parse_args().level
    hear_interrupts()
    seed, wanted = int(os.environ.get("CHAOS_SEED", "0")), int(os.environ.get("CHAOS_RUNS", "200"))
    end = time.monotonic() + 60 * float(os.environ.get("CHAOS_MINUTES", "30"))
    folder = ROOT / ".work" / "chaos"
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / f"{seed}.jsonl"
    wanted_of = {"loop": wanted - round(wanted * SHARE_OF_RAY), "ray": round(wanted * SHARE_OF_RAY)}
    for which in ("loop", "ray") if level == "both" else (level,):
        while (count := len(of_level(known(journal), which))) < wanted_of[which] and time.monotonic() < end:
            # Each run has its own stream: a later call goes on with the faults that would have come.
            chance = random.Random(f"{seed}/{which}/{runs(known(journal), which)}")
            run = RUNS[which](folder / which, chance)
            with journal.open("a") as file:
                for injection in (each for each in run if each.struck):
                    file.write(json.dumps({"level": which, **asdict(injection)}) + "\n")
                file.write(json.dumps({"level": which, "run": True}) + "\n")
            said = ", ".join(injection.fault for injection in run)
            print(f"{which} {count + len(run):4}/{wanted_of[which]}  {said}", flush=True)
            for injection in run:
                if not injection.survived:
                    print(f"  LOST {injection.fault}: {injection.said}", flush=True)
    return summary(known(journal), folder / f"{seed}.json", seed)


def loop_run(folder: Path, chance: random.Random) -> list[Injection]:
    """A training of seconds under one to five faults."""
    family = chance.choice(["dcgan", "r3gan"])
    expected = expectations(folder, family)
    training = Training(folder / f"run-{time.monotonic_ns()}", family, ranks=chance.choice(loop_level.SIZES))
    faults = drawn(LOOP, chance, most=5)
    accepted = {expected["plain"]}
    done: list[Injection] = []
    if chance.random() < 0.25:
        training.extra |= {"nan": NAN_AT, "victim": chance.randrange(4)}
        # Killed between the NaN and the next checkpoint, a run goes on as if it had never been.
        accepted.add(expected["nan"])
        done.append(Injection("NaN on one rank"))
    troubled = bool(loop_level.OF_STORE.keys() & set(faults))
    training.trouble = Trouble(str(chance.random())) if troubled else None
    with storage(training.trouble, chance.random() < 0.1) as training.storage:
        done += loop_level.endure(training, faults, chance)
    result, orphans = training.result(), training.orphans()
    good = result in accepted and not orphans
    for injection in done:
        injection.wrong_bytes, injection.orphans = result is not None and result not in accepted, len(orphans)
        injection.survived = good and not injection.hung and "nobody" not in injection.said
        if not injection.survived:
            injection.said += f"; {training.folder}: {loop_level.logs(training)[-300:]}"
    if all(injection.survived for injection in done):
        shutil.rmtree(training.folder)
    return done


def storage(trouble: Trouble | None, remote: bool) -> contextlib.AbstractContextManager[str]:
    """The run's checkpoints on a real S3 server as well, by a bad way where there is to be trouble."""
    if trouble is not None:
        return objects.troubled_s3(trouble)
    return objects.s3() if remote else contextlib.nullcontext("")


def drawn(weights: Mapping[str, int], chance: random.Random, most: int) -> list[str]:
    """One to `most` faults, by their weights."""
    return chance.choices(list(weights), weights=list(weights.values()), k=chance.randint(1, most))


def expectations(folder: Path, family: str) -> dict[str, str]:
    """What a training ends in when nothing happens, and when it meets a NaN once; computed once."""
    path = folder / f"expected-{family}-{ray_level.code_key()}.json"
    if not path.exists():
        made = {"plain": loop_level.reference(folder / "expected", family)}
        made["nan"] = loop_level.reference(folder / "expected", family, NAN_AT)
        files.write_json(path, made)
    return json.loads(path.read_text())


def ray_run(folder: Path, chance: random.Random) -> list[Injection]:
    """A stage on a real, private Ray, or a training on a cluster, under one to three faults."""
    expected = ray_level.prepare(folder)
    if chance.random() < SHARE_OF_CLUSTERS:
        try:
            return cluster_level.attack(expected, folder, drawn(CLUSTER, chance, most=3), chance)
        except clusters.NotUp as error:
            print(f"  no cluster came up: {str(error)[-300:]}", flush=True)
            return []
    which = chance.choices(ray_level.STAGES, weights=[1, 1, 3, 6, 1])[0]
    possible = {fault: RAY[fault] for fault in ray_level.faults_of(which)}
    return ray_level.attack(expected, folder, which, drawn(possible, chance, most=3), chance)


RUNS = {"loop": loop_run, "ray": ray_run}


def known(journal: Path) -> list[dict[str, Any]]:
    """What earlier calls wrote down; a torn last line is passed over."""
    found: list[dict[str, Any]] = []
    for line in journal.read_text().splitlines() if journal.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def of_level(rows: list[dict[str, Any]], level: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["level"] == level and "fault" in row]


def runs(rows: list[dict[str, Any]], level: str) -> int:
    return sum(1 for row in rows if row["level"] == level and "run" in row)


def by_fault(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for fault in sorted({row["fault"] for row in rows}):
        yield fault, [row for row in rows if row["fault"] == fault]


def summary(rows: list[dict[str, Any]], path: Path, seed: int) -> int:
    """Print and write the sums; the exit code is 1 where anything was lost."""
    struck = [row for row in rows if "fault" in row]
    lost = [row for row in struck if not row["survived"]]
    table = [
        {
            "fault": fault,
            "injected": len(found),
            "survived": sum(row["survived"] for row in found),
            "hung": sum(bool(row.get("hung")) for row in found),
            "orphans": sum(int(row.get("orphans", 0)) for row in found),
            "wrong_bytes": sum(bool(row.get("wrong_bytes")) for row in found),
            "median_seconds": round(statistics.median(row["seconds"] for row in found), 1),
            "worst_seconds": round(max(row["seconds"] for row in found), 1),
        }
        for fault, found in by_fault(struck)
    ]
    sums = {"seed": seed, "injected": len(struck), "survived": len(struck) - len(lost), "lost": len(lost)}
    sums["bit_identical"] = sums["survived"]
    for kind in ("hung", "orphans", "wrong_bytes"):
        sums[kind] = sum(int(row.get(kind, 0)) for row in struck)
    files.write_json(path, {**sums, "runs": sum("run" in row for row in rows), "faults": table})
    width = max((len(row["fault"]) for row in table), default=5)
    print(f"{'fault':{width}}  injected  survived  median s  worst s")
    for row in table:
        numbers = f"{row['injected']:8}  {row['survived']:8}  {row['median_seconds']:8}  {row['worst_seconds']:7}"
        print(f"{row['fault']:{width}}  {numbers}")
    print(", ".join(f"{name} {value}" for name, value in sums.items()), f"→ {path.relative_to(ROOT)}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
