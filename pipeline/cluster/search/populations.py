"""Population-based training by Ray's own scheduler, with chance that is counted, not drawn as results arrive.

Jaderberg et al. 2017, arXiv:1711.09846: members train side by side; at each round the worst quarter take over weights
and settings of the best quarter, and change the settings a little. Ray's scheduler waits for all members, compares
them, and lets more of them take turns than there are CPUs. What is ours: who is copied and how settings change
follow from (seed, round, member), so that equal seeds give equal searches on any machine; and weights are taken over
from our own checkpoints (`members.py`), by the line of settings that leads to them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, PopulationBasedTraining, TrialScheduler

from pipeline.cluster.search.members import ROUND, clear_mirrors, end_of, rounds, run_member, schedule_of, unhealthy
from pipeline.cluster.search.trial import CLOCK, METRIC, WORST_SCORE
from pipeline.cluster.search.trial_semaphore import TrialSemaphore
from pipeline.cluster.search.tune_setup import Found, Start, kept, placed, side_by_side, watching
from pipeline.errors import TrainingFailed
from pipeline.formats.search import Best, Journal
from pipeline.params import Params
from pipeline.run.addresses import resolve
from pipeline.search import perturbation, spaces

MEMBER = "member"


def evolve(
    params: Params, setup: dict[str, Any], journal: Journal, storage: Path, note: Callable[[str], None]
) -> Start:
    """One start of Tune over a population, whose members wait for each other at each round."""
    import ray
    from ray import tune

    tuning = params.tune
    scheduler = Population(params, note)
    # A private Ray is started with exactly the CPUs that we may use.
    limited = tuning.workers_per_trial > 1 or resolve(params.run.address).kind != "private"
    places = side_by_side(params, int(ray.cluster_resources().get("CPU", 1)))
    setup = {**setup, "semaphore": TrialSemaphore(places) if limited and places < tuning.trials else None}
    # Tune would hold some of a large population back, and the first round begins with all of it.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(tuning.trials)
    tuner = tune.Tuner(
        placed(_work, params, setup, journal),
        param_space={MEMBER: tune.grid_search(list(range(tuning.trials)))},
        # All members at once: who finds no CPU waits for one who pauses.
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=tuning.workers_per_trial == 1),
        run_config=kept(storage, watching(journal, note, _called(tuning.trials)), {ROUND: rounds(params)}),
    )
    with warnings.catch_warnings():
        # Processes of members of several workers are not used again.
        warnings.filterwarnings("ignore", "Consider boosting PBT performance")
        errors = list(tuner.fit().errors)

    def found() -> Found:
        if not scheduler.complete:
            raise TrainingFailed("the search ended before its members did; run it again to go on")
        best = scheduler.best()
        clear_mirrors(setup, sorted({entry["trial"] for entry in journal.entries}))
        return Found(best, scheduler.rows(), scheduler.readings())

    return errors, found


def _work(config: dict[str, Any], setup: dict[str, Any], known: list[dict[str, Any]]) -> None:
    from ray import tune

    run_member(config, setup, known, tune.report)


def _called(members: int) -> Callable[[Any, int], tuple[str, Mapping[str, Any]]]:
    return lambda trial, _: (f"member {trial.config[MEMBER] + 1} of {members}", trial.config["line"][-1]["settings"])


class Population(PopulationBasedTraining):
    """Ray's synchronous scheduler over trials that are given a number, `member`, and nothing else."""

    def __init__(self, params: Params, note: Callable[[str], None]) -> None:
        # Ray wants to be told how to explore; `_get_new_config` is asked first.
        super().__init__(
            ROUND, METRIC, "min", perturbation_interval=1, custom_explore_fn=dict, log_config=False, synch=True
        )
        self._params = params
        self._space = spaces.active(params.tune.space, params.train.family)
        self._note = note
        self._told: dict[tuple[int, int], dict[str, Any]] = {}
        self._ends: dict[int, dict[str, Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune pickles what it is given; nobody reads that back."""
        return (FIFOScheduler, ())

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        member = trial.config[MEMBER]
        settings = perturbation.drawn(self._space, self._params.tune.seed, member)
        line = [{"from": 0, MEMBER: member, "settings": settings}]
        trial.set_config({MEMBER: member, "line": line, ROUND: 0, "seen": 0, "unhealthy": {}})

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if len(self._trial_state) < self._params.tune.trials:
            raise RuntimeError("Ray began a round before all members were there")
        self._keep(trial, result)
        before = self._next_perturbation_sync
        decision = super().on_trial_result(tune_controller, trial, result)
        if self._next_perturbation_sync != before:
            self._say(result[ROUND])
        if decision != TrialScheduler.PAUSE:
            return decision
        # Ray's own way of pausing would ask the trial for a checkpoint first; ours is on the disk already.
        tune_controller.pause_trial(trial, should_checkpoint=False)
        return TrialScheduler.NOOP

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._keep(trial, result)
        super().on_trial_complete(tune_controller, trial, result)

    def _keep(self, trial: Trial, result: dict[str, Any]) -> None:
        member = trial.config[MEMBER]
        settings = trial.config["line"][-1]["settings"]
        told = {CLOCK: result[CLOCK], METRIC: result[METRIC], "cloned": "", **settings}
        self._told[(result[ROUND], member)] = told
        if result[ROUND] == rounds(self._params):
            names = (METRIC, "status", CLOCK, "reason")
            self._ends[member] = {**{name: result[name] for name in names}, "line": trial.config["line"]}

    def _quantiles(self) -> tuple[list[Trial], list[Trial]]:
        """Those that take over and those that are taken over: who cannot go on is always among the first."""
        # Equal scores stay in the order in which Tune added the members.
        worst, best = super()._quantiles()
        failing = [trial for trial in self._trial_state if unhealthy(self._last(trial))]
        best = [trial for trial in best if trial not in failing]
        return ([*(trial for trial in worst if trial not in failing), *failing], best) if best else ([], [])

    def _checkpoint_or_exploit(
        self, trial: Trial, tune_controller: Any, upper_quantile: list[Trial], lower_quantile: list[Trial]
    ) -> None:
        """One member's step over a round: on with its own weights, or with another's."""
        result = self._last(trial)
        number, member = result[ROUND], trial.config[MEMBER]
        if trial in lower_quantile:
            chosen = perturbation.donor(len(upper_quantile), self._params.tune.seed, number, member)
            self._exploit(tune_controller, trial, upper_quantile[chosen])
            return
        ended = {name: result[name] for name in ("status", "reason")} if unhealthy(result) else {}
        trial.set_config({**trial.config, ROUND: number, "seen": result[CLOCK], "unhealthy": ended})

    def _last(self, trial: Trial) -> dict[str, Any]:
        """What the trial told at the end of its round."""
        result = self._trial_state[trial].last_result
        assert result is not None, "a round ends when all have told"
        return result

    def _exploit(self, tune_controller: Any, trial: Trial, trial_to_clone: Trial) -> None:
        """Ray's, less its own checkpoint: the new line says where the weights are."""
        if trial.status != Trial.PAUSED:
            tune_controller.pause_trial(trial, should_checkpoint=False)
        config, _ = self._get_new_config(trial, trial_to_clone)
        trial.set_config(config)
        self._told[(config[ROUND], config[MEMBER])]["cloned"] = trial_to_clone.config[MEMBER] + 1
        self._num_perturbations += 1

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        """The other's line and one entry more: its settings, explored."""
        result = self._last(trial_to_clone)
        line, member, number = trial_to_clone.config["line"], trial.config[MEMBER], result[ROUND]
        settings = perturbation.explored(self._space, line[-1]["settings"], self._params.tune.seed, number, member)
        entry = {"from": end_of(self._params, number - 1), MEMBER: member, "settings": settings}
        return {MEMBER: member, "line": [*line, entry], ROUND: number, "seen": result[CLOCK], "unhealthy": {}}, {}

    def _say(self, number: int) -> None:
        """One line on how a round went."""
        told = {member: found for (at, member), found in sorted(self._told.items()) if at == number}
        best = min(told, key=lambda member: (told[member][METRIC], member))
        moves = ", ".join(
            f"{member + 1} goes on from {found['cloned']}" for member, found in told.items() if found["cloned"]
        )
        self._note(
            f"round {number} of {rounds(self._params)}: score {told[best][METRIC]:.4g} (member {best + 1})"
            f"{'; ' if moves else ''}{moves}"
        )

    # --- what came of it ------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether every member came to the end."""
        return len(self._ends) == self._params.tune.trials

    def rows(self) -> list[dict[str, Any]]:
        """A row a member: how it ended, with which settings, after how many changes."""
        return [
            {
                "trial": member + 1,
                **{name: end[name] for name in (METRIC, "status", CLOCK)},
                **end["line"][-1]["settings"],
                "changes": len(end["line"]) - 1,
                "reason": end["reason"],
            }
            for member, end in sorted(self._ends.items())
        ]

    def readings(self) -> list[dict[str, Any]]:
        """A row a reading, member by member; `cloned`: whose weights and settings it took over then."""
        ordered = sorted(self._told.items(), key=lambda item: (item[0][1], item[0][0]))
        return [{"trial": member + 1, **told} for (_, member), told in ordered]

    def best(self) -> Best:
        """The settings that the best member's weights began with, and how they changed on their way.

        Raises:
            TrainingFailed: if no member came to a usable score.
        """
        usable = {member: end for member, end in self._ends.items() if not unhealthy(end) and end[METRIC] < WORST_SCORE}
        if not usable:
            reasons = sorted({str(end["reason"] or end["status"]) for end in self._ends.values()})
            raise TrainingFailed(f"no member of {len(self._ends)} came to a usable score: {'; '.join(reasons)}")
        winner = min(usable, key=lambda member: (usable[member][METRIC], member))
        end = usable[winner]
        return Best(end["line"][0]["settings"], end[METRIC], winner + 1, schedule=schedule_of(end["line"]))
