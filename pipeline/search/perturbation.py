"""The settings of a population's members: drawn at first, later changed a little. Every draw is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Any

from pipeline import randomness
from pipeline.search.settings import Range

FACTORS = (0.8, 1.2)  # Jaderberg et al. 2017, section 4
AGAIN = 0.25  # how likely a setting is drawn again in place of changed; Ray's
DIGITS = 6  # of a drawn number: the last bits of a logarithm are another machine's


def drawn(space: Mapping[str, Range], seed: int, member: int) -> dict[str, Any]:
    """What a member begins with."""
    return {dotted: _draw(range_, _chance(seed, "first", dotted, member)) for dotted, range_ in space.items()}


def explored(
    space: Mapping[str, Range], settings: Mapping[str, Any], seed: int, round_: int, member: int
) -> dict[str, Any]:
    """A donor's settings, each changed for the member that takes them over: by a factor, or drawn again.

    What is changed stays within its bounds; of choices, and of whole numbers too near each other for a factor, the
    one beside is taken.
    """
    found: dict[str, Any] = {}
    for dotted, range_ in space.items():
        chance = _chance(seed, "explore", dotted, round_, member)
        again = chance.random() < AGAIN
        found[dotted] = _draw(range_, chance) if again else _changed(range_, settings[dotted], chance)
    return found


def donor(count: int, seed: int, round_: int, member: int) -> int:
    """Which of `count` good members, the best last, a bad one takes over from."""
    return _chance(seed, "donor", "", round_, member).randrange(count)


def _chance(seed: int, purpose: str, dotted: str, *counters: int) -> Random:
    return Random(randomness.key(seed, f"population/{purpose}/{dotted}", *counters))


def _draw(searched: Range, chance: Random) -> Any:
    if searched.choice is not None:
        return chance.choice(searched.choice)
    if searched.randint is not None:
        return chance.randint(*searched.randint)
    if searched.loguniform is not None:
        low, high = searched.loguniform
        return _within(low, math.exp(math.log(low) + (math.log(high) - math.log(low)) * chance.random()), high)
    assert searched.uniform is not None
    low, high = searched.uniform
    return _within(low, low + (high - low) * chance.random(), high)


def _changed(searched: Range, value: Any, chance: Random) -> Any:
    upwards = chance.random() < 0.5
    factor, step = (FACTORS[1], 1) if upwards else (FACTORS[0], -1)
    if searched.choice is not None:
        place = searched.choice.index(value) + step
        return searched.choice[min(max(place, 0), len(searched.choice) - 1)]
    if searched.randint is not None:
        low, high = searched.randint
        changed = round(value * factor)
        return min(max(value + step if changed == value else changed, low), high)
    bounds = searched.uniform or searched.loguniform
    assert bounds is not None
    return _within(bounds[0], value * factor, bounds[1])


def _within(low: float, value: float, high: float) -> float:
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
