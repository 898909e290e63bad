"""What the plan beyond these machines counts on: sums over ranks and the roofline, in closed form."""

from __future__ import annotations

import math

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
def test_the_ordered_tree_moves_the_message_log2_n_times(n: int, size: float) -> None:
    assert costs.ordered(size, flat(n)) == pytest.approx(math.log2(n) * size / 1e9)


@given(GPUS, SIZES)
def test_halving_moves_as_little_as_a_ring(n: int, size: float) -> None:
    assert costs.halving(size, flat(n)) == pytest.approx(costs.ring(size, flat(n)))


def test_a_node_shares_its_way_out() -> None:
    """64 GPUs, 8 a node: three rounds near, three far, in which eight messages leave every node at once."""
    links = costs.Links(64, 8, near=200e9, far=40e9, near_wait=1e-6, far_wait=1e-5)
    assert costs.ordered(1e9, links) == pytest.approx(3 * (1e-6 + 1 / 200) + 3 * (1e-5 + 8 / 40))
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


@pytest.mark.parametrize("name", ["tree", "halving"])
def test_lanes_ask_for_a_power_of_two(name: str) -> None:
    with pytest.raises(ValueError, match="power of two"):
        costs.REDUCTIONS[name](1.0, flat(6))


def halved_sum(flat_message: Tensor, world: World) -> Tensor:
    """What docs/scale.md decides on: the tree's sum by recursive halving, then doubling, with the nearest first."""
    parts, total, distance = [], flat_message, 1
    while distance < world.size:
        low, high = total.chunk(2)
        mine, theirs = (high, low) if world.rank & distance else (low, high)
        parts.append(distance)
        total = mine + world.exchange(theirs, world.rank ^ distance)
        distance *= 2
    for distance in reversed(parts):
        other = world.exchange(total, world.rank ^ distance)
        total = torch.cat([other, total] if world.rank & distance else [total, other])
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 4), st.integers(0, 2**31))
def test_halving_gives_the_bytes_of_the_ordered_tree(power: int, seed: int) -> None:
    """Numbers of very unlike size, whose sum depends on the order of adding."""
    size = 2**power
    source = torch.Generator().manual_seed(seed)
    messages = [torch.randn(64, generator=source) * 10.0 ** (rank % 7) for rank in range(size)]

    def both(world: World) -> tuple[Tensor, Tensor]:
        mine = messages[world.rank]
        return sum_over_ranks([mine], world, fast=False)[0], halved_sum(mine, world)

    for ordered, halved in on_threads(size, both):
        assert torch.equal(ordered, halved)


def test_the_roofline_takes_the_longer_of_arithmetic_and_traffic() -> None:
    heavy, wide = counts.Kernel(156 * 10**9, 10**6, True), counts.Kernel(10**6, 1_555_000_000, False)
    phase = counts.PhaseCount("p", 1, 1, False, {heavy: 2, wide: 1}, 0, 0, 0, 0)
    assert costs.roofline(phase, A100) == pytest.approx(2e-3 + 1e-3)
    assert costs.compute(phase, A100, Assumed(share=0.5)) == pytest.approx(6e-3)
    assert costs.compute(phase, A100, Assumed(share=0.5, launch=1.0)) == 3  # three operators: the CPU is slower
