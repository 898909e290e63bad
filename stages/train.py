"""train: Ray Train around the one loop, with the search's settings → the published generator."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.cluster.connect.session import session
from pipeline.cluster.training import launch, resources
from pipeline.contract import Record
from pipeline.dag import journal, runner
from pipeline.dag.paths import inputs, paths
from pipeline.errors import Damaged
from pipeline.experiment import Experiment
from pipeline.formats.reference import Reference
from pipeline.formats.search import load_best, save_table
from pipeline.params import Params
from pipeline.preflight.fits import after_ingest
from pipeline.scoring.in_training import floor
from pipeline.storage import files
from pipeline.storage.damage import parse_json
from pipeline.training.progress import ConsoleReporter


def main(params: Params, project: runner.Project) -> None:
    best = load_best(project.artefact("search"))
    params = params.with_overrides({"tune.space": {}, **best.overrides})
    schedule = tuple(
        {"from": entry["from"], "family": params.with_overrides(entry["overrides"]).family} for entry in best.schedule
    )
    after_ingest(params, project.artefact("shards"))
    train = params.train.model_dump(mode="json")
    # Not `examples`: raising it goes on with a finished run instead of starting another.
    clockless = {name: value for name, value in train.items() if name != "examples"}
    computed: dict[str, Any] = {"train": clockless, "family": params.family, "inputs": inputs(project)}
    if schedule:
        computed["schedule"] = schedule
    scratch = project.scratch(params, computed)
    scratch.mkdir(parents=True, exist_ok=True)
    places = paths(params, project)
    mirror = scratch.name if "store" in places else ""
    experiment = Experiment(train, params.family, scratch=str(scratch), mirror=mirror, schedule=schedule, **places)
    marker = Marker(project.work(params) / "train.json", scratch)
    reporter = ConsoleReporter(params.train.examples)
    workers, least = params.run.most_workers, f"{params.run.least_workers} to " if params.run.elastic else ""
    print(f"{params.train.family}, {params.train.lanes} lanes on {least}{workers} worker{'s' if workers > 1 else ''}")
    if schedule:
        print(f"settings change at {', '.join(format(entry['from'], ',') for entry in schedule)} examples")
    print(small_n(params, Path(experiment.reference)))
    with session(params.run, resources.private_cpus(params.run)):
        runner.hear_signals()
        published = launch.train(experiment, params.run, reporter, marker.tick)
    publish(project, published, scratch)


def small_n(params: Params, folder: Path) -> str:
    """What the readings on the way are worth: how many samples, and what as many draws of train score."""
    score, reference = params.train.score, Reference.load(folder)
    said = f"scored every {score.every:,} examples on {score.samples:,} samples"
    if reference.blind:
        return said
    mean, spread = floor(reference, score.samples, score.seed)
    return f"{said}; as many draws of train score {mean:.3g} ± {spread:.1g}"


class Marker:
    """`.work/train.json`: the pid and how far it is, for people and tools that look in; and the rates."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self._path = path
        self._scratch = scratch
        self._write(0)

    def tick(self, record: Record) -> None:
        """Called for every tick, in the driver."""
        journal.tell("tick", record)
        self._write(int(record.get("examples_seen") or 0))
        rates = {name: record.get(name) for name in ("examples_seen", "examples_per_second", "time")}
        # Whoever removes .work meanwhile ends the training by the loop's own word, not here.
        self._scratch.mkdir(parents=True, exist_ok=True)
        with (self._scratch / "rates.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(rates) + "\n")

    def _write(self, examples_seen: int) -> None:
        content = {"pid": os.getpid(), "examples_seen": examples_seen, "scratch": self._scratch.name}
        files.write_json(self._path, content)


def publish(project: runner.Project, published: Path, scratch: Path) -> None:
    """From scratch to the outs: the model, its history and grids, and (apart) what holds times."""
    out = project.artefact("model")
    with files.replacing_folder(out) as folder:
        for file in sorted(published.iterdir()):
            if file.name != "history.jsonl":
                shutil.copy2(file, folder / file.name)
        history = rows(published / "history.jsonl")
        save_table(folder / "history.tsv", history, delimiter="\t")
        seen = {int(row["examples_seen"]) for row in history}
        for grid in sorted((scratch / "grids").glob("*.png")):
            if int(grid.stem) in seen:
                (folder / "grids").mkdir(exist_ok=True)
                shutil.copy2(grid, folder / "grids" / grid.name)
    save_table(project.artefact("curves") / "training" / "rates.tsv", rows(scratch / "rates.jsonl"), delimiter="\t")
    print(f"published {out.relative_to(project.root)}")


def rows(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; a torn last line is passed over."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(parse_json(line))
        except Damaged:
            continue
    return found


if __name__ == "__main__":
    runner.run("train", main)
