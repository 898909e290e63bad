"""tune: search `tune.space` for the settings with the least distance → best.yaml."""

from __future__ import annotations

import os
import shutil
import time

from pipeline.cluster.connect.session import session
from pipeline.cluster.search import driver, tune_setup
from pipeline.cluster.search.tune_setup import Found
from pipeline.dag import journal, runner
from pipeline.dag.paths import inputs, paths
from pipeline.formats.search import Best, save_best, save_table
from pipeline.params import Params
from pipeline.preflight.fits import after_ingest
from pipeline.search import spaces


def main(params: Params, project: runner.Project) -> None:
    after_ingest(params, project.artefact("shards"))
    ranges = params.tune.space
    searched = params.tune.trials and (spaces.active(ranges, params.train.family) or "train.family" in ranges)
    if not searched:
        why = "tune.trials is 0" if not params.tune.trials else f"tune.space has no key of {params.train.family}"
        print(f"{why}: using the settings as they are")
        publish(project, Found(Best({}, note=f"{why}: the settings as they are"), [], []), 0.0)
        return
    computed = {"tune": params.raw.get("tune"), "train": params.raw.get("train"), "inputs": inputs(project)}
    computed["families"] = params.raw.get("families")
    scratch = project.scratch(params, computed)
    started = time.monotonic()
    # A private Ray has room for one trial at least, and for as many as are asked for.
    trials = tune_setup.side_by_side(params, os.cpu_count() or 1)
    print(described(params))
    with session(params.run, trials * tune_setup.cpus_of_a_trial(params)):
        runner.hear_signals()
        found = driver.search(
            params, paths(params, project), scratch, print, lambda reading: journal.tell("reading", reading)
        )
    family = found.best.overrides.get("train.family", params.train.family)
    print(f"best: {family} at {found.best.score:.4g} (trial {found.best.trial} of trials.csv)")
    for dotted, value in found.best.overrides.items():
        later = "".join(f", from {e['from']:,} {tune_setup.short(e['overrides'][dotted])}" for e in found.best.schedule)
        print(f"  {dotted}: {tune_setup.short(value)}{later}")
    publish(project, found, time.monotonic() - started)
    shutil.rmtree(scratch / "trials", ignore_errors=True)


def described(params: Params) -> str:
    """What is about to be searched."""
    tuning = params.tune
    if tuning.mode == "population":
        return (
            f"a population of {tuning.trials}, each of {tuning.examples:,} examples, compared every {tuning.interval:,}"
        )
    return f"{tuning.trials} trials of {tuning.examples:,} examples, {tuning.batch} side by side"


def publish(project: runner.Project, found: Found, seconds: float) -> None:
    """The artefacts, best.yaml last: without it there is no result."""
    out, curves = project.artefact("search"), project.artefact("curves") / "search"
    save_table(out / "trials.csv", found.rows, ("trial", "score", "status", "examples_seen"))
    save_table(out / "readings.csv", found.readings, ("trial", "examples_seen", "score"))
    save_table(curves / "times.csv", [{"trials": len(found.rows), "seconds": round(seconds, 1)}])
    save_best(out, found.best)


if __name__ == "__main__":
    runner.run("tune", main)
