"""A population repeats: whatever order members come in, and however few at once, the same lines and the same best."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from pipeline import params as whole
from pipeline.cluster.search.members import ROUND, end_of, rounds
from pipeline.cluster.search.populations import MEMBER, Population
from pipeline.cluster.search.trial import CLOCK, METRIC, WORST_SCORE
from pipeline.errors import TrainingFailed
from pipeline.params import Params

RATE, GAMMA = "families.dcgan.generator.lr", "families.dcgan.penalties.r1.gamma"
MEMBERS, ROUNDS = 9, 4
SEED = 3


def params(members: int = MEMBERS, seed: int = SEED) -> Params:
    tune = {
        "trials": members,
        "mode": "population",
        "examples": 256,
        "interval": 64,
        "seed": seed,
        "space": {RATE: {"loguniform": [1e-4, 1e-2]}, GAMMA: {"uniform": [0.1, 2.0]}},
    }
    train = {"tick": 64, "checkpoint": 64, "grid": 64, "examples": 640, "score": {"every": 64}}
    return whole.check({"families": {"dcgan": {"preset": "digits"}}, "train": train, "tune": tune})


class Member:
    """As much of Tune's trial as a scheduler looks at."""

    def __init__(self, number: int) -> None:
        self.trial_id = f"{random.SystemRandom().getrandbits(32):08x}"  # Tune makes up its own
        self.config: dict[str, Any] = {MEMBER: number}
        self.status = Trial.PENDING
        self.experiment_tag = str(number)
        keeping = SimpleNamespace(num_to_keep=None)
        self.run_metadata = SimpleNamespace(checkpoint_manager=SimpleNamespace(checkpoint_config=keeping))

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def is_finished(self) -> bool:
        return self.status == Trial.TERMINATED


class Tune:
    """As much of Tune's controller as a scheduler talks to."""

    search_alg = None

    def __init__(self, members: int) -> None:
        self.trials = [Member(number) for number in range(members)]

    def get_trials(self) -> list[Member]:
        return self.trials

    def get_live_trials(self) -> list[Member]:
        return [trial for trial in self.trials if not trial.is_finished()]

    def pause_trial(self, trial: Member, should_checkpoint: bool) -> None:
        assert not should_checkpoint, "Ray keeps no weights of ours"
        trial.status = Trial.PAUSED


def score(config: dict[str, Any], number: int) -> dict[str, Any]:
    """Each round under settings far from (1e-3, 1) adds to the distance, and weights remember."""
    line, distance = config["line"], 0.0
    for at in range(number):
        entry = [each for each in line if each["from"] <= at * 64][-1]
        distance += abs(math.log10(entry["settings"][RATE] / 1e-3)) + abs(entry["settings"][GAMMA] - 1)
    return {METRIC: distance / number, "status": "finished" if number == ROUNDS else "running", "reason": ""}


def play(
    order: random.Random, workers: int, scores: Any = score, members: int = MEMBERS, seed: int = SEED
) -> Population:
    """Chance picks who comes in next among at most `workers` that train."""
    asked = params(members, seed)
    tune, said = Tune(members), []
    scheduler: Any = Population(asked, said.append)
    for trial in tune.trials:
        scheduler.on_trial_add(tune, trial)
    running: list[Member] = []
    while tune.get_live_trials():
        chosen = scheduler.choose_trial_to_run(tune) if len(running) < workers else None
        if chosen is not None:
            chosen.status = Trial.RUNNING
            running.append(chosen)
            continue
        trial = running.pop(order.randrange(len(running)))
        number = trial.config[ROUND] + 1
        result = {ROUND: number, CLOCK: end_of(asked, number - 1), **scores(trial.config, number)}
        if number == rounds(asked):
            trial.status = Trial.TERMINATED
            scheduler.on_trial_complete(tune, trial, result)
            continue
        assert scheduler.on_trial_result(tune, trial, result) == TrialScheduler.NOOP
        assert trial.status == Trial.PAUSED
    assert len([line for line in said if line.startswith("round ")]) == ROUNDS - 1
    return scheduler


def outcome(scheduler: Population) -> tuple[Any, ...]:
    assert scheduler.complete
    return scheduler.best(), scheduler.rows(), scheduler.readings()


IN_TURN = outcome(play(random.Random(0), workers=1))


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(1, MEMBERS + 1))
def test_neither_order_nor_room_changes_anything(order: random.Random, workers: int) -> None:
    assert outcome(play(order, workers)) == IN_TURN


def test_no_chance_but_the_counted_is_used() -> None:
    before = random.getstate()
    play(random.Random(0), workers=4)
    assert random.getstate() == before
    assert outcome(play(random.Random(0), workers=4, seed=2)) != IN_TURN


def test_at_each_round_the_worst_quarter_takes_over_from_the_best() -> None:
    """Of nine, three: a quarter, rounded up."""
    readings = IN_TURN[2]
    for number in range(1, ROUNDS):
        at = sorted((row for row in readings if row[CLOCK] == 64 * number), key=lambda row: row[METRIC])
        assert len(at) == MEMBERS
        assert [bool(row["cloned"]) for row in at] == [False] * 6 + [True] * 3
        assert {row["cloned"] for row in at[6:]} <= {row["trial"] for row in at[:3]}
    assert not any(row["cloned"] for row in readings if row[CLOCK] == 64 * ROUNDS), "nobody trains after the end"


def test_who_takes_over_goes_on_with_changed_settings_and_the_others_keep_theirs() -> None:
    _, rows, readings = IN_TURN
    by = {(row["trial"], row[CLOCK]): row for row in readings}
    factors: list[float] = []
    for (member, clock), row in by.items():
        after = by.get((member, clock + 64))
        if after is None:
            continue
        before = by[(row["cloned"], clock)] if row["cloned"] else row
        changed = [after[name] / before[name] for name in (RATE, GAMMA)]
        if row["cloned"]:
            factors += changed
        else:
            assert changed == [1, 1]
    assert len(factors) == (ROUNDS - 1) * 3 * 2
    assert sum(round(factor, 4) in (0.8, 1.2) for factor in factors) > len(factors) / 2, "most are not drawn again"
    assert sum(row["changes"] for row in rows) > 0


def test_the_best_is_the_winners_line() -> None:
    best, rows, readings = IN_TURN
    winner = min(rows, key=lambda row: (row[METRIC], row["trial"]))
    assert (best.trial, best.score) == (winner["trial"], winner[METRIC])
    assert len(best.schedule) == winner["changes"] > 0
    assert best.schedule[-1]["overrides"] == {name: winner[name] for name in (RATE, GAMMA)}
    assert [entry["from"] for entry in best.schedule] == sorted({entry["from"] for entry in best.schedule})
    beginnings = [{name: row[name] for name in (RATE, GAMMA)} for row in readings if row[CLOCK] == 64]
    assert best.overrides in beginnings
    line = [{"from": 0, "settings": best.overrides}]
    line += [{"from": entry["from"], "settings": entry["overrides"]} for entry in best.schedule]
    assert score({"line": line}, ROUNDS)[METRIC] == best.score, "followed from the start, it comes to the same score"
    assert best.score < min(row[METRIC] for row in readings if row[CLOCK] == 64), "and better than any could begin"


def test_equal_scores_are_told_apart_by_the_members_numbers() -> None:
    def flat(config: dict[str, Any], number: int) -> dict[str, Any]:
        return {METRIC: 1.0, "status": "finished" if number == ROUNDS else "running", "reason": ""}

    best, _, readings = outcome(play(random.Random(0), 3, flat, members=4))
    assert outcome(play(random.Random(5), 2, flat, members=4)) == (best, _, readings)
    assert best.trial == 1


def failing(members: set[int], until: int = ROUNDS) -> Any:
    """`score`, but who began as one of these is not finite, again and again."""

    def scores(config: dict[str, Any], number: int) -> dict[str, Any]:
        if config["unhealthy"]:
            return {METRIC: WORST_SCORE, **config["unhealthy"]}
        if {config["line"][-1][MEMBER]} <= members and len(config["line"]) == 1:
            return {METRIC: WORST_SCORE, "status": "failed", "reason": "play/total is not finite"}
        return score(config, number)

    return scores


def test_whoever_cannot_go_on_is_replaced_at_the_next_round() -> None:
    """More of them than a quarter: all the same."""
    best, rows, readings = outcome(play(random.Random(0), 4, failing({0, 2, 3, 5, 6})))
    first = {row["trial"]: row for row in readings if row[CLOCK] == 64}
    assert [bool(first[member + 1]["cloned"]) for member in (0, 2, 3, 5, 6)] == [True] * 5
    assert {first[member + 1]["cloned"] for member in (0, 2, 3, 5, 6)} <= {2, 5, 8, 9}
    assert all(row["status"] == "finished" for row in rows)
    assert best.score is not None
    assert best.score < WORST_SCORE


def test_where_nobody_can_go_on_the_reason_is_said() -> None:
    scheduler = play(random.Random(0), 4, failing(set(range(MEMBERS))))
    assert scheduler.complete
    assert {row["status"] for row in scheduler.rows()} == {"failed"}
    with pytest.raises(TrainingFailed, match="no member of 9 came to a usable score: play/total is not finite"):
        scheduler.best()


def test_a_round_says_who_goes_on_from_whom() -> None:
    said: list[str] = []
    tune = Tune(4)
    scheduler: Any = Population(params(4), said.append)
    for trial in tune.trials:
        scheduler.on_trial_add(tune, trial)
    for trial, value in zip(tune.trials, (3.0, 1.0, 2.0, 4.0), strict=True):
        scheduler.on_trial_result(tune, trial, {ROUND: 1, CLOCK: 64, METRIC: value, "status": "running", "reason": ""})
    assert said == ["round 1 of 4: score 1 (member 2); 4 goes on from 2"]
    assert tune.trials[3].config["line"][0] == tune.trials[1].config["line"][0]
    assert tune.trials[3].config["line"][1]["from"] == 64


def test_a_round_without_all_members_is_a_mistake_of_rays() -> None:
    tune = Tune(4)
    scheduler: Any = Population(params(4), print)
    for trial in tune.trials[:2]:
        scheduler.on_trial_add(tune, trial)
    with pytest.raises(RuntimeError, match="before all members were there"):
        scheduler.on_trial_result(tune, tune.trials[0], {ROUND: 1, METRIC: 1.0})
