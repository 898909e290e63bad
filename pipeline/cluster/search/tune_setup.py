"""One start of Ray Tune: what every kind of search hands to it, and what it hands back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cluster.search.trial import CLOCK, METRIC, WORST_SCORE
from pipeline.formats.search import Best, Journal
from pipeline.params import Params


@dataclass(frozen=True)
class Found:
    """`rows`: a row a trial; `readings`: a row a reading. Neither holds a time."""

    best: Best
    rows: list[dict[str, Any]]
    readings: list[dict[str, Any]]


Start = tuple[list[Exception], Callable[[], Found]]
"""Of one start of Tune: the errors that ended it, and how to find what came of it where there were none."""


def placed(work: Callable[..., None], params: Params, setup: dict[str, Any], journal: Journal) -> Any:
    """A trial as Tune takes it: what it knows, and what room it needs."""
    from ray import tune

    return tune.with_resources(
        tune.with_parameters(work, setup=setup, known=list(journal.entries)),
        # A trial of several workers is a supervisor here; its workers ask for their own CPUs.
        {"cpu": 1} if params.tune.workers_per_trial == 1 else tune.PlacementGroupFactory([{"memory": 1}]),
    )


def kept(storage: Path, watcher: Any) -> Any:
    """Where Tune has its files, whom it tells, and that the first trial that dies ends it."""
    from ray import tune

    return tune.RunConfig(
        name="search",
        storage_path=str(storage),
        callbacks=[watcher],
        failure_config=tune.FailureConfig(fail_fast=True),
        verbose=0,
    )


def cpus_of_a_trial(params: Params) -> int:
    """What one trial takes: its own process, or that of each of its workers."""
    workers = params.tune.workers_per_trial
    return 1 if workers == 1 else math.ceil(workers * params.run.cpus_per_worker)


def side_by_side(params: Params, cpus: int) -> int:
    """Trials that run at once: distributed ones would wait for each other's CPUs if there were more."""
    return params.run.concurrent_trials or max(1, cpus // cpus_of_a_trial(params))


def watching(
    journal: Journal, note: Callable[[str], None], called: Callable[[Any, int], tuple[str, Mapping[str, Any]]]
) -> Any:
    """A Tune callback in the driver: journals each reading, and says a line where a trial ends.

    called: what people know a trial by, and its settings, given it and how many have ended.
    """
    from ray.tune import Callback

    class Watcher(Callback):
        def __init__(self) -> None:
            self.configs: list[dict[str, Any]] = []
            self.ended = 0

        def __reduce__(self) -> tuple[Any, ...]:
            """Tune pickles its callbacks; nobody reads that back, and the journal is no pickle's business."""
            return (Callback, ())

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.configs.append(dict(trial.config))

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            names = ("trial", "reading", "config", CLOCK, METRIC, "status", "reason")
            journal.append({name: result[name] for name in names})

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.ended += 1
            last = trial.last_result
            who, config = called(trial, self.ended)
            note(ended(who, last, config))

    return Watcher()


def ended(who: str, last: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """A line where a trial ends, given its last reading and its settings."""
    settings = ", ".join(f"{key} {short(value)}" for key, value in config.items())
    early = "" if last.get("status") != "running" else " (stopped early)"
    bad = f": {last['reason']}" if last.get("reason") else ""
    return f"{who}: score {last.get(METRIC, WORST_SCORE):.4g}{early}{bad}   {settings}"


def short(value: Any) -> str:
    """A value for a line of progress."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
