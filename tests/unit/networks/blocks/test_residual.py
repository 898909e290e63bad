from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.networks.blocks.residual import DiscriminatorBlock, GeneratorBlock, OpeningBlock, Recipe
from pipeline.networks.layers.conv import HeLayers, Layers
from pipeline.networks.layers.norm import ChannelLayerNorm, ConditionalBatchNorm

PLAIN = Recipe(Layers())


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_hidden_width_of_a_discriminators_block() -> None:
    assert DiscriminatorBlock(2, 5, PLAIN, True).conv1.weight.shape[0] == 2
    assert DiscriminatorBlock(2, 5, Recipe(Layers(), wide=True), True).conv1.weight.shape[0] == 5


def test_a_rectified_shortcut_sees_relu_of_x() -> None:
    plain = DiscriminatorBlock(3, 3, PLAIN, False)
    rectified = DiscriminatorBlock(3, 3, Recipe(Layers(), rectified_shortcut=True), False)
    rectified.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(rectified(x) - plain(x), F.relu(x) - x)
    torch.testing.assert_close(rectified(x.abs()), plain(x.abs()))


def test_a_plain_block_of_equal_width_has_no_shortcut_layer_and_leaves_its_input_alone() -> None:
    block = DiscriminatorBlock(4, 4, PLAIN, halves=False)
    assert block.shortcut is None
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    with torch.no_grad():
        block.conv2.weight.zero_()
        block.conv2.bias.zero_()
        assert torch.equal(block(x), before), "with a silent branch the block is the identity"
    assert torch.equal(x, before)


def test_blocks_double_halve_and_keep() -> None:
    x, label = torch.randn(2, 4, 8, 6), torch.tensor([0, 1])
    doubling = GeneratorBlock(4, 6, PLAIN, lambda channels: ConditionalBatchNorm(channels, 2))
    assert doubling(x, label).shape == (2, 6, 16, 12)
    assert OpeningBlock(4, 8, PLAIN)(x).shape == (2, 8, 4, 3)
    assert DiscriminatorBlock(4, 6, PLAIN, halves=True)(x).shape == (2, 6, 4, 3)
    assert DiscriminatorBlock(4, 6, PLAIN, halves=False, make_norm=ChannelLayerNorm)(x).shape == (2, 6, 8, 6)


def test_a_mean_before_or_behind_the_shortcut_s_1x1_is_the_same_number() -> None:
    behind = DiscriminatorBlock(3, 5, PLAIN, halves=True)
    before = DiscriminatorBlock(3, 5, Recipe(Layers(), means_first=True), halves=True)
    before.load_state_dict(behind.state_dict())
    seen: list[torch.Size] = []
    for block in (behind, before):
        block.get_submodule("shortcut").register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(before(x), behind(x))
    assert [shape[-1] for shape in seen] == [4, 8]


def test_the_first_convolution_s_bias_can_be_left_out() -> None:
    recipe = Recipe(HeLayers(), bias=False)
    for block in (GeneratorBlock(2, 3, recipe, nn.BatchNorm2d), DiscriminatorBlock(2, 3, recipe, halves=True)):
        assert block.conv1.bias is None
        assert block.conv2.bias is not None


def test_he_s_layers_have_their_variance_in_branches_and_glorot_s_elsewhere() -> None:
    layers = HeLayers()
    for layer, fan, gain in (
        (layers.conv(64, 32, 3), 9 * 96, 2.0),
        (layers.conv(64, 64, 1), 128, 1.0),
        (layers.outer(64, 32), 9 * 96, 1.0),
        (layers.linear(64, 64), 128, 1.0),
    ):
        assert layer.weight.var().item() == pytest.approx(2 * gain / fan, rel=0.05)
        assert layer.bias is not None
        assert not layer.bias.any()
