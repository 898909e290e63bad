from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.ordering import Ordering, hashed

SIZES = st.integers(1, 300)
SEEDS = st.integers(0, 2**63 - 1)
PINNED = [6, 3, 0, 2, 4, 7, 1, 5, 4, 6, 5, 2, 7, 1, 3, 0]


def splitmix(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return word ^ (word >> 31)


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**40), max_size=20))
def test_the_hash_is_two_rounds_of_splitmix(key: int, counters: list[int]) -> None:
    expected = [splitmix(splitmix((counter * 0x9E3779B97F4A7C15 + key) % 2**64) ^ key) for counter in counters]
    assert hashed(key, np.array(counters, dtype=np.int64)).tolist() == expected


def test_the_order_is_pinned() -> None:
    # If this changes, every run in the world changes: it may not.
    assert Ordering(8, 0).take(0, 16).tolist() == PINNED


@settings(deadline=None)
@given(SIZES, SEEDS, st.integers(0, 50))
def test_every_epoch_is_a_permutation(examples: int, seed: int, epoch: int) -> None:
    taken = Ordering(examples, seed).take(epoch * examples, examples)
    assert sorted(taken.tolist()) == list(range(examples))


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(Ordering(100, seed).epoch(epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@settings(deadline=None)
@given(SIZES, SEEDS, st.integers(0, 1000), st.lists(st.integers(0, 90), max_size=12))
def test_any_cuts_give_the_same_whole(examples: int, seed: int, start: int, cuts: list[int]) -> None:
    whole = Ordering(examples, seed).take(start, sum(cuts))
    pieces: list[int] = []
    for cut in cuts:  # a new object each time: what a resumed run has
        pieces += Ordering(examples, seed).take(start + len(pieces), cut).tolist()
    assert pieces == whole.tolist()


@settings(deadline=None)
@given(SIZES, SEEDS, st.sampled_from([1, 2, 4, 8]), st.integers(0, 20), st.integers(1, 6))
def test_ranks_share_a_global_batch_evenly(examples: int, seed: int, ranks: int, step: int, lane: int) -> None:
    batch = 8 * lane
    share = batch // ranks
    together = [Ordering(examples, seed).take(step * batch + rank * share, share).tolist() for rank in range(ranks)]
    assert {len(rows) for rows in together} == {share}
    assert [index for rows in together for index in rows] == Ordering(examples, seed).take(step * batch, batch).tolist()


def test_places_are_uniform() -> None:
    """Chi-squared of 20 examples × 20 places over 2,000 epochs: 361 degrees of freedom, so 361 ± 27 (one sigma)."""
    ordering = Ordering(20, 7)
    counts = np.zeros((20, 20))
    for epoch in range(2000):
        counts[np.arange(20), ordering.epoch(epoch)] += 1
    chi_squared = float(((counts - 100) ** 2 / 100).sum())
    assert 361 - 5 * 27 < chi_squared < 361 + 5 * 27


def test_old_epochs_are_let_go() -> None:
    ordering = Ordering(10, 0)
    first = ordering.take(0, 10).tolist()
    ordering.take(0, 200)
    assert len(vars(ordering)["_epochs"]) <= 2
    assert ordering.take(0, 10).tolist() == first


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ordering(0, 0)
    with pytest.raises(ValueError, match="negative"):
        Ordering(3, 0).take(-1, 2)
    assert Ordering(3, 0).take(5, 0).tolist() == []
