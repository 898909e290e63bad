"""The shape of the sum decides its bytes: one tree for any number of workers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from worlds import on_threads

from pipeline.contract import LocalWorld, World
from pipeline.errors import SettingsError
from pipeline.training.lanes import Tree, my_lanes, sum_over_ranks

FLOATS = st.floats(-1e6, 1e6, width=32)


def by_halves(values: list[Tensor]) -> Tensor:
    """The balanced tree, written as its definition."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return by_halves(values[:middle]) + by_halves(values[middle:])


def tree_sum(values: list[Tensor]) -> Tensor:
    tree = Tree()
    for value in values:
        tree.add([value])
    return tree.total()[0]


@given(st.integers(0, 5), st.data())
def test_the_tree_is_the_balanced_one(height: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=2**height, max_size=2**height))
    values = [torch.tensor(row, dtype=torch.float32) for row in numbers]
    assert torch.equal(tree_sum(values), by_halves(values))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2**31))
def test_any_number_of_ranks_sums_by_the_same_tree(ranks: int, lanes_each: int, seed: int) -> None:
    """Lanes over 1, 2, 4, 8 ranks: the bytes of the one tree over all lanes, on every rank."""
    size, lanes = 2**ranks, 2 ** (ranks + lanes_each)
    source = torch.Generator().manual_seed(seed)
    values = [torch.randn(5, generator=source) * 10.0**power for power in range(lanes)]
    whole = by_halves(values)

    def rank(world: World) -> list[Tensor]:
        return sum_over_ranks([tree_sum([values[lane] for lane in my_lanes(lanes, world)])], world, fast=False)

    for (found,) in on_threads(size, rank):
        assert torch.equal(found, whole)


def test_the_order_matters_or_there_would_be_nothing_to_fix() -> None:
    values = [torch.tensor([v], dtype=torch.float32) for v in (1e8, 1.0, -1e8, 1.0)]
    in_a_row = ((values[0] + values[1]) + values[2]) + values[3]
    assert not torch.equal(tree_sum(values), in_a_row)


def test_what_is_added_stays_as_it_was() -> None:
    """Autograd may hand out one tensor as the gradient of two parameters."""
    shared = torch.ones(3)
    tree = Tree()
    for _ in range(4):
        tree.add([shared, shared])
    assert torch.equal(shared, torch.ones(3))
    assert all(torch.equal(total, torch.full((3,), 4.0)) for total in tree.total())


@pytest.mark.parametrize("count", [0, 3, 5, 6, 7])
def test_only_powers_of_two_make_a_tree(count: int) -> None:
    tree = Tree()
    for _ in range(count):
        tree.add([torch.ones(1)])
    with pytest.raises(ValueError, match="power of two"):
        tree.total()


def test_shapes_and_types_come_back() -> None:
    parts = [torch.ones(2, 3), torch.tensor(2.0), torch.ones(4, dtype=torch.float64)]
    for found in on_threads(2, lambda world: sum_over_ranks(parts, world, fast=False)):
        assert [(each.shape, each.dtype) for each in found] == [(each.shape, each.dtype) for each in parts]
        assert all(torch.equal(each, 2 * part) for each, part in zip(found, parts, strict=True))


def test_fast_takes_the_backends_own_sum() -> None:
    for (found,) in on_threads(2, lambda world: sum_over_ranks([torch.ones(2) + world.rank], world, fast=True)):
        assert found.tolist() == [3.0, 3.0]


def test_lanes_are_shared_out_in_order() -> None:
    assert on_threads(4, lambda world: list(my_lanes(8, world))) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert list(my_lanes(4, LocalWorld())) == [0, 1, 2, 3]
    with pytest.raises(SettingsError, match="2 lanes do not divide among 4 workers"):
        on_threads(4, lambda world: my_lanes(2, world))
