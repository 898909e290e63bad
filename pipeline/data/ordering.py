"""Which examples come next: a pure function of (number of examples, seed, position).

Positions count examples without end; epoch e covers positions e·n … (e+1)·n - 1 and is one
permutation of all n. Nothing is carried from one call to the next, so that a run resumes from one
integer, and ranks take their rows of a global batch without speaking to each other. The
permutation sorts a hash computed here: no library's generator can change it under us.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import randomness

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
KEPT_EPOCHS = 2


def hashed(key: int, counters: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 well-mixed bits for each (key, counter): two rounds of splitmix64's finaliser (Steele et al. 2014)."""
    word = np.uint64(key)
    return _mixed(_mixed(counters.astype(np.uint64) * GOLDEN + word) ^ word)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * FIRST
    words = (words ^ (words >> np.uint64(27))) * SECOND
    return words ^ (words >> np.uint64(31))


class Ordering:
    """The endless order of `examples` examples under `seed`."""

    def __init__(self, examples: int, seed: int) -> None:
        if examples < 1:
            raise ValueError(f"an order needs at least one example, not {examples}")
        self.examples = examples
        self.seed = seed
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def take(self, position: int, count: int) -> NDArray[np.int64]:
        """The examples at positions `position` … `position + count - 1`: int64 (count,)."""
        if position < 0 or count < 0:
            raise ValueError(f"position and count cannot be negative: {position}, {count}")
        pieces: list[NDArray[np.int64]] = []
        while count:
            epoch, start = divmod(position, self.examples)
            piece = self.epoch(epoch)[start : start + count]
            pieces.append(piece)
            position, count = position + len(piece), count - len(piece)
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

    def epoch(self, number: int) -> NDArray[np.int64]:
        """The permutation of epoch `number`, int64 (examples,), read-only."""
        if number not in self._epochs:
            counters = np.arange(self.examples, dtype=np.int64)
            order = np.argsort(hashed(randomness.key(self.seed, "order", number), counters), kind="stable")
            order = order.astype(np.int64, copy=False)
            order.flags.writeable = False
            while len(self._epochs) >= KEPT_EPOCHS:
                self._epochs.pop(next(iter(self._epochs)))
            self._epochs[number] = order
        return self._epochs[number]
