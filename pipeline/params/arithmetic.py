"""Numbers of different sections that have to divide each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.training.settings import TrainSettings

if TYPE_CHECKING:
    from pipeline.params import Params


def arithmetic(params: Params, train: TrainSettings) -> list[str]:
    """Workers share the lanes evenly; the search's clock stops at ticks."""
    run, tune = params.run, params.tune
    problems: list[str] = []
    if train.lanes % run.most_workers:
        problems.append(
            f"run.num_workers: {run.most_workers} workers cannot share train.lanes: {train.lanes}; "
            f"take one of {[n for n in range(1, train.lanes + 1) if train.lanes % n == 0]}, or raise train.lanes"
        )
    if not tune.trials:
        return problems
    if tune.workers_per_trial > 1 and train.lanes % tune.workers_per_trial:
        problems.append(f"tune.workers_per_trial: {tune.workers_per_trial} does not divide train.lanes: {train.lanes}")
    clock = "interval" if tune.mode == "population" else "first_rung"
    for name, value in (("examples", tune.examples), (clock, getattr(tune, clock))):
        if value % train.tick:
            problems.append(f"tune.{name}: {value} is not a multiple of train.tick: {train.tick}")
    return problems
