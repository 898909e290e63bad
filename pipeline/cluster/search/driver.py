"""The search: Ray Tune over `tune.space`, with a journal from which a killed one is replayed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cluster.search.trial import CLOCK, METRIC, WORST_SCORE, name_of, run_trial
from pipeline.cluster.search.tune_setup import Found, Start, kept, placed, side_by_side, watching
from pipeline.cluster.training.launch import last_line
from pipeline.cluster.training.progress_channel import ProgressChannel
from pipeline.cluster.training.start_watchdog import StartWatchdog, patience, watch
from pipeline.contract import Record
from pipeline.errors import TrainingFailed
from pipeline.formats.search import Best, Journal
from pipeline.params import Params
from pipeline.search import spaces
from pipeline.search.settings import TuneSettings


def search(
    params: Params,
    paths: Mapping[str, Any],
    scratch: Path,
    note: Callable[[str], None],
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> Found:
    """Search inside a `session`; the same bytes however often it was killed on the way.

    paths: what `Experiment` needs besides settings. scratch: the journal and the trials' folders. told: hears
        each reading once.

    Raises:
        TrainingFailed: if a trial died, or none came to a usable score.
    """
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

    journal = Journal(scratch / "journal.jsonl", told)
    if journal.entries:
        note(f"replaying {len(journal.entries)} readings of a search that was interrupted")
    setup = {
        "raw": params.raw,
        "paths": dict(paths),
        "examples": params.tune.examples,
        "trials": str(scratch / "trials"),
        "repeatable": params.tune.mode == "repeatable",
    }
    start = _kind(params.tune)
    died = (NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError)
    deaths = 0
    while True:
        shutil.rmtree(scratch / "ray", ignore_errors=True)
        with _watched(params, note) as at_work:
            errors, found = start(params, {**setup, "at_work": at_work}, journal, scratch / "ray", note)
        if not errors:
            break
        deaths += 1
        if not isinstance(errors[0], died) or deaths > params.run.max_failures:
            raise TrainingFailed(f"a trial died: {last_line(errors[0])}")
        note("a trial's process died; starting again from the journal")
    shutil.rmtree(scratch / "ray", ignore_errors=True)
    return found()


@contextmanager
def _watched(params: Params, note: Callable[[str], None]) -> Generator[Any]:
    """Where trials have several workers each: a channel that hears them begin, and a limit for those that do not."""
    if params.tune.workers_per_trial == 1:
        yield None
        return
    building, reporter = StartWatchdog(patience(params.run)), Notes(note)
    with ProgressChannel(reporter, on_begun=building.has_begun) as channel, watch(building, reporter, params.run):
        yield channel.actor


class Notes:
    """A `Reporter` of notes alone."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def tick(self, record: Record) -> None:
        """Trials tell theirs to Tune."""

    def note(self, message: str) -> None:
        self._say(message)


def _kind(tuning: TuneSettings) -> Callable[[Params, dict[str, Any], Journal, Path, Callable[[str], None]], Start]:
    if tuning.mode != "population":
        return _run
    from pipeline.cluster.search.populations import evolve

    return evolve


def _compared(params: Params, configs: list[dict[str, Any]], journal: Journal, note: Callable[[str], None]) -> Found:
    """What trials of their own came to."""
    if any(not journal.of(config) for config in configs):
        raise TrainingFailed("the search ended before its trials did; run it again to go on")
    repeats = params.tune.trials - len(configs)
    if repeats:
        note(f"{repeats} of {params.tune.trials} trials repeat others, and were not run again")
    return _found(params.tune, configs, journal)


def _run(params: Params, setup: dict[str, Any], journal: Journal, storage: Path, note: Callable[[str], None]) -> Start:
    """One start of Tune over trials of their own, compared in batches or as they come."""
    import ray
    from ray import tune

    tuning = params.tune
    searcher, scheduler = _algorithms(params)
    watcher = watching(journal, note, lambda trial, ended: (f"trial {ended} of {tuning.trials}", trial.config))
    tuner = tune.Tuner(
        placed(_trainable, params, setup, journal),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=tuning.trials,
            max_concurrent_trials=side_by_side(params, int(ray.cluster_resources().get("CPU", 1))),
            # A distributed trial that is stopped leaves a thread behind, which only its process's end stops.
            reuse_actors=tuning.workers_per_trial == 1,
        ),
        run_config=kept(storage, watcher),
    )
    errors = list(tuner.fit().errors)
    configs: list[dict[str, Any]] = watcher.configs if tuning.mode == "asynchronous" else searcher.configs
    return errors, lambda: _compared(params, configs, journal, note)


def _trainable(config: dict[str, Any], setup: dict[str, Any], known: list[dict[str, Any]]) -> None:
    from ray import tune

    mine = sorted((entry for entry in known if entry["config"] == config), key=lambda entry: entry["reading"])
    folder = name_of(config)
    if not setup["repeatable"]:  # Optuna alone may try the same twice, side by side
        folder += f"-{tune.get_context().get_trial_id()}"
    run_trial(config, {**setup, "scratch": str(Path(setup["trials"]) / folder)}, mine, tune.report)


def _algorithms(params: Params) -> tuple[Any, Any]:
    """Searcher and scheduler: repeatable batches, or asynchronous successive halving."""
    import optuna
    from optuna.samplers import TPESampler
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    from pipeline.cluster.search.batches_of_trials import BatchedHalving, BatchedSearcher

    class Unsaved(OptunaSearch):
        def save(self, checkpoint_path: str) -> None:
            """Nothing: a killed search is replayed from its journal, and no pickle is written."""

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tuning = params.tune
    searched = spaces.define(tuning.space, params.train.family)
    sampler = TPESampler(seed=tuning.seed, n_startup_trials=tuning.startup)
    inner = Unsaved(searched, metric=METRIC, mode="min", sampler=sampler)
    if tuning.mode == "asynchronous":
        halving = AsyncHyperBandScheduler(
            CLOCK,
            METRIC,
            "min",
            max_t=tuning.examples,
            grace_period=tuning.first_rung,
            reduction_factor=tuning.reduction,
            stop_last_trials=False,
        )
        return inner, halving
    halving = BatchedHalving(CLOCK, METRIC, rungs(tuning), tuning.reduction)
    return BatchedSearcher(inner, halving, tuning.batch, tuning.trials), halving


def rungs(tuning: TuneSettings) -> list[int]:
    """Where trials may be stopped: first_rung, first_rung·reduction, …, below the full length."""
    found: list[int] = []
    rung = float(tuning.first_rung)
    while rung < tuning.examples:
        found.append(int(rung))
        rung *= tuning.reduction
    return found


def _found(tuning: TuneSettings, configs: list[dict[str, Any]], journal: Journal) -> Found:
    rows: list[dict[str, Any]] = []
    readings: list[dict[str, Any]] = []
    for number, config in enumerate(configs, start=1):
        known = journal.of(config)
        last = known[-1]
        status = "stopped" if last["status"] == "running" else last["status"]
        row = {"trial": number, METRIC: last[METRIC], "status": status, CLOCK: last[CLOCK]}
        rows.append({**row, **config, "reason": last["reason"]})
        readings += [{"trial": number, CLOCK: entry[CLOCK], METRIC: entry[METRIC]} for entry in known]
    whole = [row for row in rows if row["status"] == "finished" and row[METRIC] < WORST_SCORE]
    if not whole:
        reasons = sorted({str(row["reason"] or row["status"]) for row in rows})
        raise TrainingFailed(f"no trial of {len(rows)} came to a usable score: {'; '.join(reasons)}")
    winner = min(whole, key=lambda row: (row[METRIC], row["trial"]))
    asynchronous = tuning.mode == "asynchronous"
    best = Best(
        overrides=configs[winner["trial"] - 1],
        score=winner[METRIC],
        trial=winner["trial"],
        repeatable=not asynchronous,
        note="asynchronous search: another run may find other settings" if asynchronous else "",
    )
    return Found(best, rows, readings)
