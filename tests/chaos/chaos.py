"""`make chaos`: seeded faults at random moments over many short runs; every run has to end in the expected bytes.

    CHAOS_SEED=1 CHAOS_RUNS=200 CHAOS_MINUTES=20 make chaos

CHAOS_RUNS counts injections over all calls with one seed; CHAOS_MINUTES bounds a call. Results are appended to
`.work/chaos/<seed>.jsonl`, so that a later call goes on; the sums are printed and written to `.work/chaos/<seed>.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import loop_level
import objects
import ray_level
from loop_level import Injection, Training

from pipeline.formats import files

ROOT = Path(__file__).parents[2]
SHARE_OF_RAY = 0.2
NAN_AT = 640


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=["loop", "ray", "both"], default="both")
    level = parser.parse_args().level
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
            run = loop_run(folder / "loop", chance) if which == "loop" else ray_run(folder / "ray", chance)
            with journal.open("a") as file:
                for injection in run:
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
    faults = [chance.choice(list(loop_level.FAULTS)) for _ in range(chance.randint(1, 5))]
    accepted = {expected["plain"]}
    done: list[Injection] = []
    if chance.random() < 0.25:
        training.extra |= {"nan": NAN_AT, "victim": chance.randrange(4)}
        # Killed between the NaN and the next checkpoint, a run goes on as if it had never been.
        accepted.add(expected["nan"])
        done.append(Injection("NaN on one rank"))
    with storage(chance.random() < 0.15) as training.storage:
        done += loop_level.endure(training, faults, chance)
    good = training.result() in accepted and not training.orphans()
    for injection in done:
        injection.survived = good
        if not good:
            injection.said += f"; {training.folder}: {loop_level.logs(training)[-300:]}"
    if good:
        shutil.rmtree(training.folder)
    return done


def storage(remote: bool) -> Any:
    """The run's checkpoints on a real S3 server as well, now and then."""
    import contextlib

    return objects.s3() if remote else contextlib.nullcontext("")


def expectations(folder: Path, family: str) -> dict[str, str]:
    """What a training ends in when nothing happens, and when it meets a NaN once; computed once."""
    path = folder / f"expected-{family}.json"
    if not path.exists():
        made = {"plain": loop_level.reference(folder / "expected", family)}
        made["nan"] = loop_level.reference(folder / "expected", family, NAN_AT)
        files.write_json(path, made)
    return json.loads(path.read_text())


def ray_run(folder: Path, chance: random.Random) -> list[Injection]:
    """A stage on a real, private Ray under one to three faults."""
    expected = ray_level.prepare(folder)
    which = chance.choices(ray_level.STAGES, weights=[1, 1, 3, 5, 1])[0]
    faults = [chance.choice(list(ray_level.FAULTS)) for _ in range(chance.randint(1, 3))]
    return ray_level.attack(expected, folder, which, faults, chance)


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
            "median_seconds": round(statistics.median(row["seconds"] for row in found), 1),
            "worst_seconds": round(max(row["seconds"] for row in found), 1),
        }
        for fault, found in by_fault(struck)
    ]
    sums = {"seed": seed, "injected": len(struck), "survived": len(struck) - len(lost), "lost": len(lost)}
    sums["bit_identical"] = sums["survived"]
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
