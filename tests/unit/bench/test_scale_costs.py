"""What the plan beyond these machines counts on: sums over ranks and the roofline, in closed form."""

from __future__ import annotations

import pytest
import scale_costs as costs
import scale_counts as counts
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scale_machines import A100, Assumed
from torch import Tensor
from worlds import on_threads

from pipeline.contract import World
from pipeline.training.lanes import sum_over_ranks

pytestmark = pytest.mark.slow


GPUS = st.integers(0, 10).map(lambda power: 2**power)
SIZES = st.floats(1, 1e10)


def flat(gpus: int, rate: float = 1e9) -> costs.Links:
    """Every pair of GPUs has a link of its own."""
    return costs.Links(gpus, per_node=1, near=rate, far=rate)


@given(GPUS, SIZES)
def test_a_ring_moves_twice_the_message_but_one_share(n: int, size: float) -> None:
    assert costs.ring(size, flat(n)) == pytest.approx(2 * (n - 1) / n * size / 1e9)


@given(GPUS, SIZES)
def test_halving_moves_as_little_as_a_ring(n: int, size: float) -> None:
    assert costs.halving(size, flat(n)) == pytest.approx(costs.ring(size, flat(n)))


def test_a_node_shares_its_way_out() -> None:
    """64 GPUs, 8 a node: three rounds near, three far, in which eight messages leave every node at once."""
    links = costs.Links(64, 8, near=200e9, far=40e9, near_wait=1e-6, far_wait=1e-5)
    far = 2 * (1 / 16 + 1 / 32 + 1 / 64) * 8 / 40
    near = 2 * (1 / 2 + 1 / 4 + 1 / 8) / 200
    assert costs.halving(1e9, links) == pytest.approx(near + far + 6e-6 + 6e-5)
    assert costs.ring(1e9, links) == pytest.approx(2 * 63 / 64 / 40 + 2 * (56e-6 + 7e-5))


@given(st.sampled_from(list(costs.REDUCTIONS)), GPUS, SIZES, SIZES)
def test_sums_take_longer_with_more_of_anything(name: str, n: int, size: float, more: float) -> None:
    links, twice = costs.links(A100, n, Assumed()), costs.links(A100, 2 * n, Assumed())
    reduction = costs.REDUCTIONS[name]
    assert reduction(size, links) <= reduction(size + more, links)
    assert reduction(size, links) < reduction(size, twice)


def test_lanes_ask_for_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="power of two"):
        costs.halving(1.0, flat(6))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 4), st.integers(1, 100))
def test_the_sum_over_ranks_moves_what_is_counted(power: int, numbers: int) -> None:
    """Numbers that a rank sends: each round's, of a message that is filled up to a multiple of the ranks."""
    size, message = 2**power, torch.ones(numbers)

    def sent(world: World) -> list[int]:
        lengths: list[int] = []
        counted = Counting(world, lengths)
        sum_over_ranks([message], counted, fast=False)
        return lengths

    filled = -(-numbers // size) * size
    rounds = [filled >> (level + 1) for level in range(power)]
    assert all(lengths == [*rounds, *reversed(rounds)] for lengths in on_threads(size, sent))
    assert sum(2 * rounds) / 1e9 == pytest.approx(costs.halving(filled, flat(size)))


class Counting:
    """A world that notes how many numbers each exchange sends."""

    def __init__(self, world: World, lengths: list[int]) -> None:
        self.rank, self.size, self.device = world.rank, world.size, world.device
        self._world, self._lengths = world, lengths
        self.gather, self.all_reduce, self.barrier = world.gather, world.all_reduce, world.barrier

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        self._lengths.append(tensor.numel())
        return self._world.exchange(tensor, partner)


def test_the_roofline_takes_the_longer_of_arithmetic_and_traffic() -> None:
    heavy, wide = counts.Kernel(156 * 10**9, 10**6, True), counts.Kernel(10**6, 1_555_000_000, False)
    phase = counts.PhaseCount("p", 1, 1, False, {heavy: 2, wide: 1}, 0, 0, 0, 0)
    assert costs.roofline(phase, A100) == pytest.approx(2e-3 + 1e-3)
    assert costs.compute(phase, A100, Assumed(share=0.5)) == pytest.approx(6e-3)
    assert costs.compute(phase, A100, Assumed(share=0.5, launch=1.0)) == 3  # three operators: the CPU is slower
