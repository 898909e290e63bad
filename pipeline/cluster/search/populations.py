"""Population-based training: rounds that all members train through, compared between them.

Jaderberg et al. 2017, arXiv:1711.09846: at the end of each round the worst quarter take over weights and settings of
the best quarter, and change the settings a little. Who is copied and how settings change follow from (seed, round,
member), so that equal seeds give equal searches on any machine; weights are taken over from our own checkpoints
(`members.py`), by the line of settings that leads to them. A round is a barrier: its members are Ray tasks, as many
at once as there is room for, and in which order they end changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.cluster.search.members import (
    ROUND,
    clear_mirrors,
    end_of,
    entry_of,
    name_of,
    rounds,
    schedule_of,
    unhealthy,
)
from pipeline.cluster.search.trial import CLOCK, METRIC, WORST_SCORE
from pipeline.cluster.search.tune_setup import Found, Start, ended, side_by_side
from pipeline.errors import TrainingFailed
from pipeline.formats.search import Best, Journal
from pipeline.params import Params
from pipeline.search import perturbation, spaces

MEMBER = "member"
QUARTER = 0.25  # of the members: so many take over, and so many are taken over


def evolve(
    params: Params, setup: dict[str, Any], journal: Journal, storage: Path, note: Callable[[str], None]
) -> Start:
    """One start of a population, on from what the journal knows."""
    from ray.exceptions import RayError

    population = Population(params)
    try:
        for _ in range(rounds(params)):
            said = population.compare(_trained(params, population.configs(), setup, journal))
            if said:
                note(said)
    except RayError as error:
        return [error], population.found
    for member, row in enumerate(population.rows()):
        settings = population.configs()[member]["line"][-1]["settings"]
        note(ended(f"member {member + 1} of {params.tune.trials}", row, settings))
    clear_mirrors(setup, sorted({entry["trial"] for entry in journal.entries}))
    return [], population.found


def _trained(
    params: Params, configs: Sequence[dict[str, Any]], setup: dict[str, Any], journal: Journal
) -> list[dict[str, Any]]:
    """How the round of each member went, in their order: a reading each, which the journal has from then on."""
    known = {(entry["trial"], entry["reading"]): entry for entry in journal.entries}
    found = [known.get((name_of(config["line"]), config[ROUND])) for config in configs]
    missing = [number for number, entry in enumerate(found) if entry is None]
    for number, entry in _each(params, [configs[number] for number in missing], setup) if missing else ():
        journal.append(entry)
        found[missing[number]] = entry
    return [entry for entry in found if entry is not None]


def _each(
    params: Params, configs: Sequence[dict[str, Any]], setup: dict[str, Any]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the reading of each of these members, as they end; where one dies, the others end as well."""
    import ray

    workers = params.tune.workers_per_trial
    # A member of several workers is a supervisor, whose workers ask for their own CPUs; it leaves threads behind, which
    # only its process's end stops.
    options: dict[str, Any] = {"num_cpus": 1} if workers == 1 else {"num_cpus": 0, "max_calls": 1}
    task: Any = ray.remote(max_retries=0, **options)(entry_of)
    shared, waiting, running = ray.put(setup), list(enumerate(configs)), dict[Any, int]()
    places = side_by_side(params, int(ray.cluster_resources().get("CPU", 1)))
    try:
        while waiting or running:
            while waiting and len(running) < places:
                number, config = waiting.pop(0)
                running[task.remote(config, shared)] = number
            (done,), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(done), ray.get(done)
    finally:
        for left in running:
            ray.cancel(left, force=True)


class Population:
    """Members and the lines of settings that they train by, from round to round."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._space = spaces.active(params.tune.space, params.train.family)
        self._told: dict[tuple[int, int], dict[str, Any]] = {}
        self._ends: list[dict[str, Any]] = []
        self._configs = [self._beginning(member) for member in range(params.tune.trials)]

    def configs(self) -> list[dict[str, Any]]:
        """What each member does next, as `members.entry_of` takes it."""
        return [dict(config) for config in self._configs]

    def compare(self, results: Sequence[Mapping[str, Any]]) -> str:
        """End a round, given the reading of each member; returns a line on who goes on from whom, if any go on."""
        number = self._configs[0][ROUND] + 1
        for config, result in zip(self._configs, results, strict=True):
            told = {CLOCK: result[CLOCK], METRIC: result[METRIC], "cloned": "", **config["line"][-1]["settings"]}
            self._told[(number, config[MEMBER])] = told
        if number == rounds(self._params):
            names = (METRIC, "status", CLOCK, "reason")
            self._ends = [
                {**{name: result[name] for name in names}, "line": config["line"]}
                for config, result in zip(self._configs, results, strict=True)
            ]
            return ""
        below, above = self._quantiles(results)
        before = self._configs
        self._configs = [
            self._taken_over(number, member, before, above, results)
            if member in below
            else self._gone_on(number, before[member], results[member])
            for member in range(len(before))
        ]
        return self._said(number)

    def _beginning(self, member: int) -> dict[str, Any]:
        settings = perturbation.drawn(self._space, self._params.tune.seed, member)
        line = [{"from": 0, MEMBER: member, "settings": settings}]
        return {MEMBER: member, "line": line, ROUND: 0, "seen": 0, "unhealthy": {}}

    def _quantiles(self, results: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
        """Those that take over and those that are taken over: who cannot go on is always among the first."""
        # Equal scores stay in the order of the members.
        ranked = sorted(range(len(results)), key=lambda member: -float(results[member][METRIC]))
        count = math.ceil(len(ranked) * QUARTER)
        count = len(ranked) // 2 if count > len(ranked) / 2 else count
        worst, best = ranked[:count], ranked[len(ranked) - count :]
        failing = [member for member, result in enumerate(results) if unhealthy(result)]
        best = [member for member in best if member not in failing]
        return ([*(member for member in worst if member not in failing), *failing], best) if best else ([], [])

    def _gone_on(self, number: int, config: dict[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        why = {name: result[name] for name in ("status", "reason")} if unhealthy(result) else {}
        return {**config, ROUND: number, "seen": result[CLOCK], "unhealthy": why}

    def _taken_over(
        self,
        number: int,
        member: int,
        before: Sequence[dict[str, Any]],
        above: Sequence[int],
        results: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Another's line and one entry more: its settings, explored."""
        seed = self._params.tune.seed
        donor = above[perturbation.donor(len(above), seed, number, member)]
        line = before[donor]["line"]
        settings = perturbation.explored(self._space, line[-1]["settings"], seed, number, member)
        entry = {"from": end_of(self._params, number - 1), MEMBER: member, "settings": settings}
        self._told[(number, member)]["cloned"] = donor + 1
        return {MEMBER: member, "line": [*line, entry], ROUND: number, "seen": results[donor][CLOCK], "unhealthy": {}}

    def _said(self, number: int) -> str:
        """One line on how a round went."""
        told = {member: found for (at, member), found in sorted(self._told.items()) if at == number}
        best = min(told, key=lambda member: (told[member][METRIC], member))
        moves = ", ".join(
            f"{member + 1} goes on from {found['cloned']}" for member, found in told.items() if found["cloned"]
        )
        return (
            f"round {number} of {rounds(self._params)}: score {told[best][METRIC]:.4g} (member {best + 1})"
            f"{'; ' if moves else ''}{moves}"
        )

    # --- what came of it ------------------------------------------------------------------------

    def found(self) -> Found:
        """The winner and the tables.

        Raises:
            TrainingFailed: if no member came to a usable score.
        """
        return Found(self.best(), self.rows(), self.readings())

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
            for member, end in enumerate(self._ends)
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
        usable = {
            member: end for member, end in enumerate(self._ends) if not unhealthy(end) and end[METRIC] < WORST_SCORE
        }
        if not usable:
            reasons = sorted({str(end["reason"] or end["status"]) for end in self._ends})
            raise TrainingFailed(f"no member of {len(self._ends)} came to a usable score: {'; '.join(reasons)}")
        winner = min(usable, key=lambda member: (usable[member][METRIC], member))
        end = usable[winner]
        return Best(end["line"][0]["settings"], end[METRIC], winner + 1, schedule=schedule_of(end["line"]))
