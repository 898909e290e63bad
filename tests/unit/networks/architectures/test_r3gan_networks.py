from __future__ import annotations

import math

import pytest
import torch

from pipeline.networks.architectures.r3gan import (
    ACTIVATION_GAIN,
    GroupedBlock,
    GroupedDiscriminator,
    GroupedGenerator,
    GroupedPlan,
    linear,
)

PLAN = GroupedPlan((3, 2), (16, 8), (2, 1), (4, 2), 3)


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
    generator, critic = GroupedGenerator(PLAN, 5), GroupedDiscriminator(PLAN, 2)
    noise = torch.randn(4, 5)
    x = generator(noise)
    assert x.shape == (4, 3, 6, 4)
    assert critic(x).shape == (4, 2)
    torch.testing.assert_close(generator(2 * noise), 2 * x)
    torch.testing.assert_close(critic(2 * x), 2 * critic(x))


def test_blocks_may_start_as_something() -> None:
    """A short training has no time for blocks to grow from nothing."""
    torch.manual_seed(0)
    block = GroupedBlock(64, 8, 2, depth=8, last_gain=0.5)
    assert block.narrow.weight.std().item() == pytest.approx(0.5 / math.sqrt(128), rel=0.05)
    plan = GroupedPlan((3, 2), (8, 4), (1, 2), (2, 2), 3, last_gain=0.5)
    assert all(each.narrow.weight.any() for index in (0, 1) for each in plan.stage(index))
