"""All randomness is counted, never carried: a key in, the same stream out.

A key is (seed, purpose, counters…). Nothing keeps a generator between steps, so that a run
resumed at any step, on any number of workers, draws what the unbroken run would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray


def key(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit key, equal on every machine, for (seed, purpose, counters…)."""
    text = ":".join([str(seed), purpose, *(str(counter) for counter in counters)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A CPU generator at the start of the stream named by the key.

    Draw on the CPU and move: the same numbers then reach every device.
    """
    return torch.Generator().manual_seed(key(seed, purpose, *counters))


def shuffled(total: int, seed: int, purpose: str, *counters: int) -> NDArray[np.int64]:
    """A permutation of `total` positions, the same for the same key."""
    return torch.randperm(total, generator=generator(seed, purpose, *counters)).numpy()


def choose(total: int, count: int, seed: int, purpose: str, *counters: int) -> NDArray[np.int64]:
    """`count` of `total` positions without repeats, sorted: the same for the same key."""
    return np.sort(shuffled(total, seed, purpose, *counters)[:count])
