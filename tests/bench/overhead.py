"""`make bench`: what Ray Train costs a step: the same training in a plain process and as Ray's one worker, in turns.

One worker, one lane, one thread; Ray's own processes have nothing else to do. A round trains both for as many ticks;
its rate is the upper quartile of the ticks', without the first few. The ratio is the median over rounds, whose order
alternates: speeds on a busy machine wander, and both see the same weather.

    python tests/bench/overhead.py [--rounds 8] [--ticks 40] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.cluster.connect.session import session
from pipeline.cluster.training import launch
from pipeline.contract import LocalWorld, Record
from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.experiment import Experiment, fit_and_score
from pipeline.run.settings import RunSettings
from pipeline.scoring.extract import ShardExamples
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import ReferenceSettings

FLOOR = 0.98
TICK = 1_280
WARM = 5  # ticks that are not counted
RUN = RunSettings(num_workers=1, score_beside="never", device="cpu")


@dataclass
class Rates:
    """A reporter that keeps what a tick says of its speed."""

    found: list[float] = field(default_factory=lambda: [])

    def tick(self, record: Record) -> None:
        self.found.append(float(record["examples_per_second"] or 0))

    def note(self, message: str) -> None:
        """Nothing."""

    @property
    def steady(self) -> float:
        """Examples a second where nothing else was in the way."""
        return statistics.quantiles(self.found[WARM:], n=4)[2]


def prepare(folder: Path) -> dict[str, Any]:
    """Digits at 16×16 and their reference: what an `Experiment` needs besides settings."""
    source = {"name": "digits"}
    packing.ingest(IngestSettings.model_validate({"source": source, "resolution": 16}), folder / "shards")
    train, holdout = (
        ShardExamples(folder / "shards", split, folder / "cache", 2**28) for split in ("train", "holdout")
    )
    # The score is not what is timed.
    settings = ReferenceSettings(extractor={"name": "random_projection", "dimension": 8})
    measure(settings, train, holdout, folder / "reference", train.manifest_sha256, lambda _: None)
    places = {name: str(folder / name) for name in ("shards", "reference", "cache")}
    return {**places, "cache_budget": 2**28}


def experiment(places: dict[str, Any], scratch: Path, ticks: int) -> Experiment:
    """A training of `ticks`, neither scored nor kept on the way."""
    examples = ticks * TICK
    train: dict[str, Any] = {"family": "dcgan", "examples": examples, "lanes": 1, "tick": TICK, "checkpoint": examples}
    train |= {"grid": examples, "score": {"every": examples, "samples": 64}}
    return Experiment(train, {"preset": "digits"}, scratch=str(scratch), grids=False, **places)


def plain(given: dict[str, Any]) -> float:
    """The steady rate of the loop in a process of its own, as Ray's worker is one, and as few threads in it."""
    command = [sys.executable, __file__, "--alone", json.dumps(given)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)


def alone(given: dict[str, Any]) -> float:
    """The steady rate of the loop in this process."""
    rates = Rates()
    fit_and_score(Experiment(**given), LocalWorld(), rates)
    return rates.steady


def by_ray(given: dict[str, Any]) -> float:
    """The steady rate of the loop in Ray Train's worker."""
    rates = Rates()
    launch.train(Experiment(**given), RUN, rates)
    return rates.steady


def measured(rounds: int, ticks: int) -> dict[str, Any]:
    """The rates of every round and the ratio of their medians."""
    found: dict[str, list[float]] = {"plain": [], "ray": []}
    with tempfile.TemporaryDirectory(prefix="zerosum-bench-") as name:
        folder = Path(name)
        places = prepare(folder)
        with session(RUN, cpus=1):
            for number in range(rounds):
                for which in ("plain", "ray") if number % 2 else ("ray", "plain"):
                    given = experiment(places, folder / f"{which}-{number}", ticks).as_json()
                    found[which].append(by_ray(given) if which == "ray" else plain(given))
                    print(
                        f"round {number + 1} of {rounds}, {which}: {found[which][-1]:,.0f} examples/s", file=sys.stderr
                    )
    ratios = [ray / plain for plain, ray in zip(found["plain"], found["ray"], strict=True)]
    spread = statistics.quantiles(ratios, n=4)
    return {"ratio": statistics.median(ratios), "quartiles": [spread[0], spread[2]], "examples_per_second": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--ticks", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--alone", metavar="EXPERIMENT", help="train this one here and print its rate; what a round does"
    )
    arguments = parser.parse_args()
    if arguments.alone:
        print(alone(json.loads(arguments.alone)))
        return 0
    found = measured(arguments.rounds, arguments.ticks)
    if arguments.json:
        print(json.dumps(found))
        return 0
    rates = {which: statistics.median(each) for which, each in found["examples_per_second"].items()}
    low, high = found["quartiles"]
    print("a training by Ray Train against a plain process: DCGAN on digits at 16×16, one worker, one thread")
    print(f"  plain process      {rates['plain']:,.0f} examples/s")
    print(f"  Ray's worker       {rates['ray']:,.0f} examples/s")
    print(f"  Ray / plain        {found['ratio']:.3f}, quartiles {low:.3f} to {high:.3f} (floor: {FLOOR})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
