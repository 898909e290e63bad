"""Groups of workers that are not at work in time are named, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.cluster.training.start_watchdog import StartWatchdog

JOB = "01000000"
OURS, NEXT, OTHERS = f"{1:028x}{JOB}", f"{2:028x}{JOB}", f"{1:028x}02000000"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def building(clock: Clock) -> StartWatchdog:
    return StartWatchdog(60, now=clock)


def table(state: str = "CREATED", *names: str) -> dict[str, dict[str, Any]]:
    return {name: {"state": state, "bundles": {0: {"CPU": 1.0}, 1: {"CPU": 1.0}}} for name in names or (OURS,)}


def test_a_worker_that_does_not_begin_is_waited_for_so_long_and_no_longer(
    building: StartWatchdog, clock: Clock
) -> None:
    building.has_begun(OURS)
    seen: list[float] = []
    for clock.now in range(200):
        if building.overdue(table(), JOB) == [OURS]:
            seen.append(clock.now)
    assert seen == [61, 123, 185]  # named again where taking it apart did nothing


def test_a_group_whose_workers_have_all_begun_is_left_alone(building: StartWatchdog, clock: Clock) -> None:
    assert building.overdue(table(), JOB) == []
    building.has_begun(OURS)
    building.has_begun(OURS)
    clock.now = 1000
    assert building.overdue(table(), JOB) == []


@pytest.mark.parametrize("state", ["PENDING", "PREPARED", "RESCHEDULING", "REMOVED"])
def test_waiting_for_machines_has_no_limit_here(building: StartWatchdog, clock: Clock, state: str) -> None:
    for clock.now in (0, 1000, 2000):
        assert building.overdue(table(state), JOB) == []
    # Its time begins when it has them.
    assert building.overdue(table(), JOB) == []
    clock.now += 61
    assert building.overdue(table(), JOB) == [OURS]


def test_another_jobs_groups_are_not_touched(building: StartWatchdog, clock: Clock) -> None:
    for clock.now in (0, 61):
        found = building.overdue(table("CREATED", OURS, OTHERS), JOB)
    assert found == [OURS]


def test_the_place_of_a_trial_that_trains_by_others_is_no_group_of_workers(
    building: StartWatchdog, clock: Clock
) -> None:
    place = {"state": "CREATED", "bundles": {0: {"memory": 1.0}}}
    for clock.now in (0, 61):
        found = building.overdue({**table(), NEXT: place}, JOB)
    assert found == [OURS]


def test_a_tick_is_proof_where_letters_were_lost(building: StartWatchdog, clock: Clock) -> None:
    building.overdue(table(), JOB)
    building.has_ticked()
    for clock.now in (30, 90, 200):
        assert building.overdue(table("CREATED", OURS, NEXT), JOB) == ([NEXT] if clock.now in (200,) else [])
