from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.layers.minibatch import MinibatchDeviation, MinibatchDiscrimination, group_size


def test_groups_take_every_nth_example() -> None:
    """Of four examples in groups of two, 0 goes with 2 and 1 with 3: the group is the first axis."""
    x = torch.zeros(4, 2, 3, 3)
    x[0], x[2] = 1.0, 5.0  # deviation 2
    x[1], x[3] = 0.0, 1.0  # deviation ½
    y = MinibatchDeviation(2)(x)
    assert y.shape == (4, 3, 3, 3)
    assert torch.equal(y[:, :2], x)
    added = y[:, 2, 0, 0].tolist()
    assert added == pytest.approx([2.0, 0.5, 2.0, 0.5], rel=1e-4)
    assert (y[:, 2] == y[:, 2, :1, :1]).all(), "one number fills the map"


def test_several_features_average_their_own_channels() -> None:
    x = torch.zeros(2, 4, 1, 1)
    x[0, :2], x[0, 2:] = 2.0, 6.0
    y = MinibatchDeviation(2, features=2)(x)
    assert y[0, 4:].flatten().tolist() == pytest.approx([1.0, 3.0], rel=1e-4)


def test_a_lone_example_deviates_by_epsilon() -> None:
    y = MinibatchDeviation(4)(torch.randn(1, 2, 2, 2))
    assert y[0, 2].flatten().tolist() == pytest.approx([1e-4] * 4)


@settings(deadline=None)
@given(count=st.integers(1, 64), wanted=st.integers(1, 64))
def test_group_sizes_divide_the_batch(count: int, wanted: int) -> None:
    size = group_size(count, wanted)
    assert count % size == 0
    assert size <= wanted
    assert wanted not in range(size + 1, count + 1) or count % wanted


def test_discrimination_counts_near_neighbours() -> None:
    """Two equal examples are each other's neighbour at distance 0; one far away has none."""
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(3, outputs=2, depth=2)
    x = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [500.0, -500.0, 300.0]])
    y = layer(x)
    assert y.shape == (3, 5)
    assert torch.equal(y[:, :3], x)
    torch.testing.assert_close(y[:2, 3:], torch.ones(2, 2))
    torch.testing.assert_close(y[2, 3:], torch.zeros(2))


def test_discrimination_is_the_papers_sum() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(4, outputs=3, depth=2).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    m = (x @ layer.weight.T).view(5, 3, 2)
    for i in range(5):
        for b in range(3):
            wanted = sum(math.exp(-(m[i, b] - m[j, b]).abs().sum().item()) for j in range(5) if j != i)
            assert layer(x)[i, 4 + b].item() == pytest.approx(wanted)
