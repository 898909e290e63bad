"""The draws of a population: counted, within bounds, one setting's apart from another's."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.search.perturbation import AGAIN, donor, drawn, explored
from pipeline.search.settings import Range

SPACE = {
    "families.dcgan.generator.lr": Range(loguniform=(1e-4, 1e-2)),
    "families.dcgan.penalties.r1.gamma": Range(uniform=(0.5, 1.5)),
    "families.dcgan.some.count": Range(randint=(2, 40)),
    "families.dcgan.generator.beta1": Range(choice=[0.0, 0.5, 0.9]),
}
RATE, GAMMA, COUNT, BETA = SPACE
MIDDLE: dict[str, Any] = {RATE: 1e-3, GAMMA: 1.0, COUNT: 20, BETA: 0.5}


def test_draws_repeat_and_leave_no_trace() -> None:
    before = random.getstate()
    assert drawn(SPACE, 3, 1) == drawn(SPACE, 3, 1)
    assert explored(SPACE, MIDDLE, 3, 2, 1) == explored(SPACE, MIDDLE, 3, 2, 1)
    assert random.getstate() == before
    first = [drawn(SPACE, 3, member)[RATE] for member in range(20)]
    assert len(set(first)) == 20
    assert drawn(SPACE, 4, 1) != drawn(SPACE, 3, 1)
    assert explored(SPACE, MIDDLE, 3, 1, 1) != explored(SPACE, MIDDLE, 3, 1, 2)


def test_a_setting_more_changes_no_other() -> None:
    few = {RATE: SPACE[RATE]}
    assert drawn(few, 0, 5)[RATE] == drawn(SPACE, 0, 5)[RATE]
    assert explored(few, MIDDLE, 0, 1, 5)[RATE] == explored(SPACE, MIDDLE, 0, 1, 5)[RATE]


def test_a_rate_is_drawn_evenly_over_its_factors() -> None:
    rates = [drawn(SPACE, 0, member)[RATE] for member in range(400)]
    assert sum(rate < 1e-3 for rate in rates) == pytest.approx(200, abs=40)
    counts = [drawn(SPACE, 0, member)[COUNT] for member in range(400)]
    assert (min(counts), max(counts)) == (2, 40), "both ends included"


def test_three_in_four_changes_are_by_a_fifth() -> None:
    found = [explored(SPACE, MIDDLE, 0, 1, member) for member in range(800)]
    ups = sum(each[RATE] == 1.2e-3 for each in found)
    downs = sum(each[RATE] == 8e-4 for each in found)
    assert ups + downs == pytest.approx(800 * (1 - AGAIN), abs=50)
    assert ups == pytest.approx(downs, abs=60)
    assert {each[COUNT] for each in found} >= {16, 24}
    beside = [each[BETA] for each in found]
    assert beside.count(0.5) < 800 * AGAIN, "a choice that is not drawn again moves to the one beside"
    assert sum(each[RATE] > MIDDLE[RATE] and each[GAMMA] > MIDDLE[GAMMA] for each in found) < 400, "each on its own"


@given(st.integers(0, 2**31), st.integers(1, 50), st.integers(0, 60), st.floats(1e-4, 1e-2), st.integers(2, 40))
def test_nothing_leaves_its_bounds(seed: int, round_: int, member: int, rate: float, count: int) -> None:
    settings = {RATE: rate, GAMMA: 1.5, COUNT: count, BETA: 0.9}
    for found in (drawn(SPACE, seed, member), explored(SPACE, settings, seed, round_, member)):
        assert 1e-4 <= found[RATE] <= 1e-2
        assert 0.5 <= found[GAMMA] <= 1.5
        assert found[COUNT] in range(2, 41)
        assert found[BETA] in (0.0, 0.5, 0.9)


def test_small_whole_numbers_move_by_one() -> None:
    """±20 % of 2 rounds to 2."""
    space = {COUNT: Range(randint=(1, 3))}
    found = {explored(space, {COUNT: 2}, 0, 1, member)[COUNT] for member in range(60)}
    assert found == {1, 2, 3}
    kept = [explored(space, {COUNT: 2}, 0, 1, member)[COUNT] for member in range(400)].count(2)
    assert kept < 400 * AGAIN


def test_donors_are_counted_and_all_have_their_turn() -> None:
    found = [donor(3, 0, 1, member) for member in range(300)]
    assert found == [donor(3, 0, 1, member) for member in range(300)]
    assert all(found.count(each) > 60 for each in range(3))
