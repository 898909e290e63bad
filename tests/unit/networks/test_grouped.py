from __future__ import annotations

import math

import pytest
import torch

from pipeline.networks.architectures.r3gan import (
    ACTIVATION_GAIN,
    GroupedBlock,
    GroupedCritic,
    GroupedGenerator,
    GroupedPlan,
    linear,
)
from pipeline.networks.layers.resample import FilteredDownsample, FilteredUpsample, widen

PLAN = GroupedPlan((3, 2), (16, 8), (2, 1), (4, 2), 3)


def test_widen() -> None:
    assert widen([1, 2, 1]) == [1, 3, 3, 1]


@pytest.mark.parametrize("layer", [FilteredUpsample, FilteredDownsample])
def test_filters_keep_a_constant_inside_the_border(layer: type[FilteredUpsample] | type[FilteredDownsample]) -> None:
    y = layer((1.0, 2.0, 1.0))(torch.ones(1, 2, 8, 8))
    torch.testing.assert_close(y[..., 1:-1, 1:-1], torch.ones_like(y[..., 1:-1, 1:-1]))


def test_upsampling_is_by_quarters() -> None:
    """[1, 3, 3, 1]/4 along a line: each output is ¾ of the near and ¼ of the far neighbour."""
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, :] = 1.0
    line = FilteredUpsample((1.0, 2.0, 1.0))(x)[0, 0, :, 4]
    assert line.tolist() == pytest.approx([0, 0, 0, 0.25, 0.75, 0.75, 0.25, 0, 0, 0])


def test_down_is_up_transposed_over_four() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 3, 4, 6, generator=generator), torch.randn(1, 3, 8, 12, generator=generator)
    up, down = FilteredUpsample((1.0, 2.0, 1.0)), FilteredDownsample((1.0, 2.0, 1.0))
    assert (up(x) * y).sum().item() == pytest.approx(4 * (x * down(y)).sum().item(), rel=1e-4)


def test_blocks_start_as_the_identity_with_the_sheets_gains() -> None:
    torch.manual_seed(0)
    block = GroupedBlock(64, 8, 2, depth=8)
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(block(x), x)
    assert not block.narrow.weight.any()
    gain = math.sqrt(2 / 1.04) * 8**-0.25
    assert gain == pytest.approx(ACTIVATION_GAIN * 8**-0.25)
    assert block.widen.weight.std().item() == pytest.approx(gain / math.sqrt(64), rel=0.05)
    assert block.mix.weight.shape == (128, 16, 3, 3)
    assert block.mix.weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.05)


def test_linear_gain() -> None:
    torch.manual_seed(0)
    assert linear(100, 400, 0.5).weight.std().item() == pytest.approx(0.05, rel=0.02)


def test_shapes_and_linearity_at_initialisation() -> None:
    generator, critic = GroupedGenerator(PLAN, 5), GroupedCritic(PLAN, 2)
    noise = torch.randn(4, 5)
    x = generator(noise)
    assert x.shape == (4, 3, 6, 4)
    assert critic(x).shape == (4, 2)
    torch.testing.assert_close(generator(2 * noise), 2 * x)
    torch.testing.assert_close(critic(2 * x), 2 * critic(x))


def test_an_odd_filter_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        FilteredUpsample((1.0, 1.0))


def test_blocks_may_start_as_something() -> None:
    """A short training has no time for blocks to grow from nothing."""
    torch.manual_seed(0)
    block = GroupedBlock(64, 8, 2, depth=8, last_gain=0.5)
    assert block.narrow.weight.std().item() == pytest.approx(0.5 / math.sqrt(128), rel=0.05)
    plan = GroupedPlan((3, 2), (8, 4), (1, 2), (2, 2), 3, last_gain=0.5)
    assert all(each.narrow.weight.any() for index in (0, 1) for each in plan.stage(index))
