from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.architectures.dcgan import DownwardStack, StackPlan, Upsampling, UpwardStack
from pipeline.networks.architectures.wgan_gp import StridedCritic, StridedGenerator, StridedPlan, halvings
from pipeline.networks.blocks.perceptron import MaxoutPerceptron, ReluPerceptron
from pipeline.networks.blocks.residual import BlockPlan, FirstBlock, ResidualBlock


@settings(deadline=None, max_examples=20)
@given(
    base=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    levels=st.integers(1, 3),
    channels=st.integers(1, 4),
    upsampling=st.sampled_from(["transposed", "nearest"]),
)
def test_stacks_mirror_each_other_in_any_number_of_dimensions(
    base: list[int], levels: int, channels: int, upsampling: Upsampling
) -> None:
    widths = tuple(4 * 2**level for level in reversed(range(levels)))
    plan = StackPlan(tuple(base), widths, channels)
    upward = plan if upsampling == "transposed" else StackPlan(tuple(base), (*widths, 3), channels)
    x = UpwardStack(upward, 5, upsampling)(torch.randn(2, 5))
    assert x.shape == (2, channels, *(side * 2**levels for side in base))
    assert DownwardStack(plan)(x).shape == (2,)


def test_a_stack_doubles_by_the_paper() -> None:
    plan = StackPlan((4, 4), (512, 256, 128, 64), 3)
    with torch.device("meta"):
        up, down = UpwardStack(plan, 100), DownwardStack(plan)
        x = up(torch.empty(2, 100))
        assert x.shape == (2, 3, 64, 64)
        assert down(x).shape == (2,)
    assert [norm.num_features for norm in up.norms] == [512, 256, 128, 64]
    assert [level.out_channels for level in down.levels] == [64, 128, 256, 512]
    assert not any(layer.bias is not None for layer in (up.first, up.last, down.head, *up.levels, *down.levels))


def test_projection_adds_the_embedding_of_the_label() -> None:
    critic = DownwardStack(StackPlan((2, 2), (4,), 1, "none", True, 3))
    x, label = torch.randn(3, 1, 4, 4), torch.tensor([0, 1, 2])
    assert critic.projection is not None
    with torch.no_grad():
        plain = critic(x)
        critic.projection.weight.zero_()
        torch.testing.assert_close(critic(x, label), plain)
        critic.projection.weight[1] = 1.0
        moved = critic(x, label) - plain
    assert moved[0] == 0
    assert moved[1] != 0
    assert moved[2] == 0


@pytest.mark.parametrize(("resample", "side"), [("up", 16), ("down", 4), ("none", 8)])
def test_residual_blocks_resample(resample: str, side: int) -> None:
    block = ResidualBlock(BlockPlan(4, 6, resample, "batch", 2))  # pyright: ignore[reportArgumentType]
    assert block(torch.randn(2, 4, 8, 8), torch.tensor([0, 1])).shape == (2, 6, side, side)


def test_a_plain_block_of_equal_width_has_no_shortcut_layer_and_leaves_its_input_alone() -> None:
    block = ResidualBlock(BlockPlan(4, 4))
    assert block.shortcut is None
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    with torch.no_grad():
        block.conv2.weight.zero_()
        assert torch.equal(block(x), before), "with a silent branch the block is the identity"
    assert torch.equal(x, before)


def test_first_block_halves() -> None:
    assert FirstBlock(3, 8)(torch.randn(2, 3, 8, 6)).shape == (2, 8, 4, 3)


@settings(deadline=None, max_examples=15)
@given(height=st.integers(4, 40), width=st.integers(4, 40), levels=st.integers(1, 3))
def test_strided_networks_reach_any_size(height: int, width: int, levels: int) -> None:
    plan = StridedPlan((height, width), (8, 4, 2)[:levels], 2)
    x = StridedGenerator(plan, 3)(torch.randn(2, 3))
    assert x.shape == (2, 2, height, width)
    critic = StridedCritic(plan)
    assert critic(x).shape == (2, critic.features)


def test_halvings_round_up() -> None:
    assert halvings((28, 30), 3) == [(28, 30), (14, 15), (7, 8), (4, 4)]


def test_perceptrons() -> None:
    generator = ReluPerceptron(3, (5, 4), 2)
    assert generator(torch.randn(7, 3)).shape == (7, 2)
    judge = MaxoutPerceptron(6, (4, 4), 3, 0.8, 0.5)
    x = torch.randn(7, 6)
    still = judge(x)
    assert still.shape == (7,)
    assert torch.equal(still, judge(x))
    one, two = (judge(x, torch.Generator().manual_seed(seed)) for seed in (1, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, judge(x, torch.Generator().manual_seed(2)))
