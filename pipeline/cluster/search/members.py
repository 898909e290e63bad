"""A member of a population: resumes its training in each round, with its current settings.

A *line* is how a member's weights came to be: `{from, member, settings}`, an entry for each time the settings were
others, oldest first. Its hash names the folder of its checkpoints. A member that takes over another's weights takes
over the line too and adds its own entry; two members never have the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import params as whole
from pipeline.cluster.search import trial
from pipeline.cluster.search.trial import CLOCK
from pipeline.contract import LocalWorld, MemoryReporter, Record
from pipeline.errors import Collapsed, SettingsError, TrainingFailed
from pipeline.experiment import Experiment, fit_and_score
from pipeline.formats.remote_checkpoints import MirroredStore
from pipeline.params import Params
from pipeline.storage.files import sha256_json
from pipeline.storage.store import Store

ROUND = "round"
SICK = ("failed", "collapsed", "refused")
KEPT = 2  # checkpoints: the one that others may still have to take over, and the one that is being written

Line = Sequence[Mapping[str, Any]]


def name_of(line: Line) -> str:
    """A line is known by what is in it."""
    return sha256_json([dict(entry) for entry in line])[:12]


def schedule_of(line: Line) -> list[dict[str, Any]]:
    """What follows the first entry, as best.yaml has it."""
    return [{"from": entry["from"], "overrides": dict(entry["settings"])} for entry in line[1:]]


def rounds(params: Params) -> int:
    """How often all members are compared, the end included."""
    return -(-params.tune.examples // params.tune.interval)


def end_of(params: Params, round_: int) -> int:
    """The examples at which a round, counted from 0, ends."""
    return min((round_ + 1) * params.tune.interval, params.tune.examples)


def entry_of(config: Mapping[str, Any], setup: Mapping[str, Any]) -> dict[str, Any]:
    """Train a member to the end of a round: a line of the journal, which says how that went.

    config: `member`, its `line`, the `round`, the examples `seen` before it, and `unhealthy`: status and reason where
        the line has ended, else empty.
    setup: as of `trial.run_trial`, with the folder of all `trials`.

    Raises:
        UserError: if the data is at fault, which no other settings would mend.
    """
    line, number = config["line"], config[ROUND]
    record: Record = {CLOCK: config["seen"]}
    status, reason, objective = "refused", "", "frechet"
    if config["unhealthy"]:
        return _told(config, record, config["unhealthy"]["status"], config["unhealthy"]["reason"], objective)
    try:
        params = whole.check(trial.unsearched(setup["raw"], line[0]["settings"]))
        objective = params.load_family().objective
        record = _trained(params, line, number, setup)
        status = "finished" if number + 1 == rounds(params) else "running"
    except Collapsed as error:
        status, reason = "collapsed", str(error)
    except TrainingFailed as error:
        status, reason = "failed", str(error)
    except SettingsError as error:
        reason = str(error)
    return _told(config, record, status, reason, objective)


def _told(config: Mapping[str, Any], record: Record, status: str, reason: str, objective: str) -> dict[str, Any]:
    entry = trial.reading(config, config[ROUND], {**record, "reason": reason}, status, objective)
    return {**entry, "trial": name_of(config["line"])}


def _trained(params: Params, line: Line, number: int, setup: Mapping[str, Any]) -> Record:
    """The training up to the end of the round: its last record, which is scored."""
    experiment = experiment_of(params, line, number, setup)
    _inherit(experiment, params, line, number, setup)
    if params.tune.workers_per_trial > 1:
        from pipeline.cluster.training import launch

        run, at_work = trial.within(params), setup.get("at_work")
        published = launch.train(experiment, run, MemoryReporter(), at_work=at_work)
        return json.loads((published / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    outcome = fit_and_score(experiment, LocalWorld(), MemoryReporter())
    if outcome.status == "collapsed":
        raise Collapsed(outcome.reason)
    return outcome.history[-1]


def experiment_of(params: Params, line: Line, number: int, setup: Mapping[str, Any]) -> Experiment:
    """A line's training to the end of a round: on from its newest checkpoint, or from nothing with the same result."""
    tuning, name = params.tune, name_of(line)
    train = trial.trial_settings(params)
    train |= {"examples": end_of(params, number), "checkpoint": tuning.interval, "grid": tuning.interval, "keep": KEPT}
    train["score"] = {**train["score"], "every": tuning.interval}
    return Experiment(
        train=train,
        family=params.family,
        scratch=str(Path(setup["trials"]) / name),
        stop_on_collapse=True,
        grids=False,
        mirror=mirror_of(setup, name),
        schedule=tuple(
            {"from": entry["from"], "family": params.with_overrides(entry["settings"]).family} for entry in line[1:]
        ),
        **setup["paths"],
    )


def mirror_of(setup: Mapping[str, Any], name: str) -> str:
    """Where a line's checkpoints are in the object store, if there is one: its rounds may be on different machines."""
    return f"{Path(setup['trials']).parent.name}/{name}" if "store" in setup["paths"] else ""


def _inherit(experiment: Experiment, params: Params, line: Line, number: int, setup: Mapping[str, Any]) -> None:
    """Where the line has no checkpoint of its own yet, begin with that of the line it comes from.

    Where that is gone too (a machine was lost), the training begins at nothing, and is slower by that.
    """
    own = experiment.here().checkpoints()
    if own.latest(MemoryReporter().note, experiment.settings.examples) is not None:
        return
    for length in range(len(line) - 1, 0, -1):
        parent = experiment_of(params, line[:length], number, setup)
        if own.inherit(parent.here().checkpoints(), limit=int(line[length]["from"])) is not None:
            return


def clear_mirrors(setup: Mapping[str, Any], names: Iterable[str]) -> None:
    """Remove the checkpoints that the lines of a finished search left in the object store, if there is one."""
    for name in names if "store" in setup["paths"] else ():
        store = Store(setup["paths"]["store"]).within(f"runs/{mirror_of(setup, name)}")
        MirroredStore(Path(setup["trials"]) / name, KEPT, store).clear()


def unhealthy(result: Mapping[str, Any]) -> bool:
    """Whether a reading says that its line cannot go on."""
    return result["status"] in SICK
