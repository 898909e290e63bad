"""Ticks: what happens every `train.tick` examples, and the means and rates between two of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass


def crossed(before: int, now: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return before // every != now // every


@dataclass(frozen=True)
class Tick:
    """Means over the steps of a tick; `before` is where the previous tick ended."""

    means: dict[str, float]
    before: int
    examples: int
    seconds: float

    def rates(self, left: int) -> dict[str, float]:
        """Examples a second and seconds to go: never part of the history."""
        rate = self.examples / max(self.seconds, 1e-9)
        return {"examples_per_second": rate, "eta_seconds": left / rate}


class Clock:
    """Adds up a tick's observations. Checkpoints stand at ticks, so it never needs saving."""

    def __init__(self, examples_seen: int) -> None:
        self._begin(examples_seen)

    def count(self, observed: Mapping[str, float], before: int, now: int, every: int) -> Tick | None:
        """Add a step's observations; the finished tick where this step crossed its end.

        A part is averaged over the steps that had it: lazy phases do not play in each.
        """
        for name, number in observed.items():
            self._sums[name] = self._sums.get(name, 0.0) + number
            self._counts[name] = self._counts.get(name, 0) + 1
        if not crossed(before, now, every):
            return None
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        tick = Tick(means, self._start, now - self._start, time.monotonic() - self._since)
        self._begin(now)
        return tick

    def _begin(self, examples_seen: int) -> None:
        self._start = examples_seen
        self._since = time.monotonic()
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
