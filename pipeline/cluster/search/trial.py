"""One trial of the search: the same `fit_and_score` as a training, shorter, told to Tune as it goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pipeline import params as whole
from pipeline.contract import LocalWorld, Record
from pipeline.errors import Collapsed, SettingsError, TrainingFailed
from pipeline.experiment import Experiment, fit_and_score
from pipeline.formats import checkpoint
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.params import Params
from pipeline.run.settings import RunSettings
from pipeline.settings import override
from pipeline.storage.files import sha256_json

WORST_SCORE = 1e6  # finite, and worse than any distance: NaN would only be warned about by the sampler
METRIC = "score"
CLOCK = "examples_seen"


def name_of(config: Mapping[str, Any]) -> str:
    """A trial is known by what it tries."""
    return sha256_json(dict(config))[:12]


def trial_settings(params: Params) -> dict[str, Any]:
    """`train` for a trial: its budget, a reading at every rung's step, no way back from NaN."""
    tune, train = params.tune, params.train.model_dump()
    train["examples"] = tune.examples
    train["score"] = {**train["score"], "every": tune.first_rung}
    train["checkpoint"] = tune.first_rung
    train["grid"] = tune.first_rung
    train["keep"] = 1
    train["publish"] = "last"
    train["health"] = {**train["health"], "rollbacks": 0}
    return train


def reading(
    config: Mapping[str, Any],
    number: int,
    record: Mapping[str, Any],
    status: str = "running",
    objective: str = "frechet",
) -> dict[str, Any]:
    """A line of the journal and a report to Tune: only what repeats, no times."""
    value = record.get(objective)
    score = float(value) if isinstance(value, (int, float)) and math.isfinite(value) else WORST_SCORE
    return {
        "trial": name_of(config),
        "reading": number,
        "config": dict(config),
        CLOCK: int(record.get(CLOCK) or 0),
        METRIC: score if status in {"running", "finished"} else WORST_SCORE,
        "status": status,
        "reason": str(record.get("reason") or ""),
    }


class TrialReporter:
    """Hands readings on in order, each once; a replay's are already known and cost nothing."""

    def __init__(self, config: Mapping[str, Any], known: list[dict[str, Any]], report: Callable[..., None], end: int):
        self._config = config
        self._report = report
        self._end = end
        self._count = 0
        self._seen = -1
        self.ended = False
        self.objective = "frechet"
        for entry in known:
            self._hand_on(entry)

    def tick(self, record: Record) -> None:
        """A tick of the loop; those without a score, or known already, are passed over."""
        seen = int(record[CLOCK] or 0)
        if self.objective in record and seen > self._seen and not self.ended:
            status = "finished" if seen >= self._end else "running"
            self._hand_on(reading(self._config, self._count, record, status, self.objective))

    def catch_up(self, store: CheckpointStore) -> None:
        """The readings on the way to the newest checkpoint: a kill may have come before they were journalled."""
        path = None if self.ended else store.latest(self.note)
        for record in checkpoint.load(path).history if path else ():
            self.tick(record)

    def note(self, message: str) -> None:
        """Notes of a trial stay in the trial."""

    def end(self, status: str, reason: str) -> None:
        """The trial ended early, with the worst of scores."""
        if not self.ended:
            self._hand_on(reading(self._config, self._count, {CLOCK: max(self._seen, 0), "reason": reason}, status))

    def _hand_on(self, entry: dict[str, Any]) -> None:
        self._count += 1
        self._seen = entry[CLOCK]
        self.ended = entry["status"] != "running"
        self._report(dict(entry))


def run_trial(
    config: Mapping[str, Any],
    setup: Mapping[str, Any],
    known: list[dict[str, Any]],
    report: Callable[..., None],
) -> None:
    """Train with these overrides, or replay what the journal knows and go on from there.

    setup: `raw` params, `paths` for `Experiment`, `examples` of a whole trial, its `scratch` folder; `at_work` is the
        channel, if any, to which the workers of a trial of several say that they have begun.

    Raises:
        UserError: if the data is at fault, which no other configuration would mend.
    """
    readings = TrialReporter(config, known, report, setup["examples"])
    if readings.ended:
        return
    try:
        params = whole.check(unsearched(setup["raw"], config))
        readings.objective = params.load_family().objective
        experiment = Experiment(
            train=trial_settings(params),
            family=params.family,
            scratch=str(setup["scratch"]),
            stop_on_collapse=True,
            grids=False,
            **setup["paths"],
        )
        readings.catch_up(experiment.here().checkpoints())
        if params.tune.workers_per_trial > 1:
            _distributed(experiment, params, readings, setup.get("at_work"))
            return
        outcome = fit_and_score(experiment, LocalWorld(), readings)
        if outcome.status == "collapsed":
            raise Collapsed(outcome.reason)
    except Collapsed as error:
        readings.end("collapsed", str(error))
    except TrainingFailed as error:
        readings.end("failed", str(error))
    except SettingsError as error:
        readings.end("refused", str(error))


def unsearched(raw: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The params of one trial: its overrides laid on, and nothing left to search."""
    return override(raw, {"tune.space": {}, **config})


def _distributed(experiment: Experiment, params: Params, readings: TrialReporter, at_work: Any) -> None:
    """Ray Train inside the trial; ticks come back through the channel's thread."""
    from pipeline.cluster.training import launch

    launch.train(experiment, within(params), readings, at_work=at_work)


def within(params: Params) -> RunSettings:
    """How a trial of several workers runs: a rung decides by its score at once, so that none is made beside."""
    return params.run.model_copy(update={"num_workers": params.tune.workers_per_trial, "score_beside": "never"})
