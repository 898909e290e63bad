"""A population repeats: whatever order members come in, and however few at once, the same lines and the same best."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline import params as whole
from pipeline.cluster.search.members import end_of, name_of, rounds
from pipeline.cluster.search.populations import MEMBER, Population, _trained
from pipeline.cluster.search.trial import CLOCK, METRIC, WORST_SCORE
from pipeline.errors import TrainingFailed
from pipeline.formats.search import Journal
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


def score(config: dict[str, Any], number: int) -> dict[str, Any]:
    """Each round under settings far from (1e-3, 1) adds to the distance, and weights remember."""
    line, distance = config["line"], 0.0
    for at in range(number):
        entry = [each for each in line if each["from"] <= at * 64][-1]
        distance += abs(math.log10(entry["settings"][RATE] / 1e-3)) + abs(entry["settings"][GAMMA] - 1)
    return {METRIC: distance / number, "status": "finished" if number == ROUNDS else "running", "reason": ""}


def play(scores: Any = score, members: int = MEMBERS, seed: int = SEED) -> Population:
    asked, said = params(members, seed), list[str]()
    population = Population(asked)
    for number in range(1, rounds(asked) + 1):
        results = [{CLOCK: end_of(asked, number - 1), **scores(config, number)} for config in population.configs()]
        said.append(population.compare(results))
    assert [line.partition(" of")[0] for line in said] == [*(f"round {n}" for n in range(1, ROUNDS)), ""]
    return population


def outcome(population: Population) -> tuple[Any, ...]:
    return population.best(), population.rows(), population.readings()


IN_TURN = outcome(play())


def test_no_chance_but_the_counted_is_used() -> None:
    before = random.getstate()
    assert outcome(play()) == IN_TURN
    assert random.getstate() == before
    assert outcome(play(seed=2)) != IN_TURN


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

    assert outcome(play(flat, members=4))[0].trial == 1


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
    best, rows, readings = outcome(play(failing({0, 2, 3, 5, 6})))
    first = {row["trial"]: row for row in readings if row[CLOCK] == 64}
    assert [bool(first[member + 1]["cloned"]) for member in (0, 2, 3, 5, 6)] == [True] * 5
    assert {first[member + 1]["cloned"] for member in (0, 2, 3, 5, 6)} <= {2, 5, 8, 9}
    assert all(row["status"] == "finished" for row in rows)
    assert best.score is not None
    assert best.score < WORST_SCORE


def test_where_nobody_can_go_on_the_reason_is_said() -> None:
    population = play(failing(set(range(MEMBERS))))
    assert {row["status"] for row in population.rows()} == {"failed"}
    with pytest.raises(TrainingFailed, match="no member of 9 came to a usable score: play/total is not finite"):
        population.best()


def test_a_round_says_who_goes_on_from_whom() -> None:
    population = Population(params(4))
    results = [{CLOCK: 64, METRIC: value, "status": "running", "reason": ""} for value in (3.0, 1.0, 2.0, 4.0)]
    assert population.compare(results) == "round 1 of 4: score 1 (member 2); 4 goes on from 2"
    configs = population.configs()
    assert configs[3]["line"][0] == configs[1]["line"][0]
    assert configs[3]["line"][1]["from"] == 64


def test_what_the_journal_knows_is_not_trained_again(tmp_path: Path) -> None:
    """No Ray is up, and no member trains."""
    population, journal = Population(params()), Journal(tmp_path / "journal.jsonl")
    configs = population.configs()
    for config in reversed(configs):
        entry = {"trial": name_of(config["line"]), "reading": 0, "config": config, CLOCK: 64, "reason": ""}
        journal.append({**entry, METRIC: float(config[MEMBER]), "status": "running"})
    known = _trained(params(), configs, {}, Journal(tmp_path / "journal.jsonl"))
    assert [entry[METRIC] for entry in known] == [float(member) for member in range(MEMBERS)]
