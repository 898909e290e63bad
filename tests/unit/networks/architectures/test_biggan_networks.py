from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.networks.architectures.biggan import BigganGenerator, BigganPlan, deep_blocks
from pipeline.networks.architectures.sngan import DiscriminatorPlan
from pipeline.networks.blocks.bottleneck import DeepDiscriminatorBlock, DeepGeneratorBlock
from pipeline.networks.blocks.residual import Recipe, ResidualPlan
from pipeline.networks.layers.conv import Layers
from pipeline.networks.layers.norm import LinearBatchNorm

PLAIN = Recipe(Layers())


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


RESIDUAL = ResidualPlan(PLAIN, base=(2, 3), widths=(8, 4, 4), channels=2, inputs=6)


def test_chunks_of_noise_reach_their_block_alone() -> None:
    """With the first layer's weights at 0, only what enters by norms is left, and each block has its own chunk."""
    network = BigganGenerator(BigganPlan(RESIDUAL, noise="chunks")).eval()
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, LinearBatchNorm):
            module.register_forward_hook(lambda _, given, __, name=name: seen.update({name: given[1]}))
    z = torch.arange(12.0).view(2, 6)
    image = network(z)
    assert image.shape == (2, 2, 8, 12)
    assert network.linear.in_features == 2
    assert [seen[f"layers.{block}.norm1"].tolist() for block in (0, 1)] == [z[:, 2:4].tolist(), z[:, 4:6].tolist()]


def test_deep_generators_see_noise_and_code_everywhere() -> None:
    network = BigganGenerator(BigganPlan(RESIDUAL, noise="whole", classes=3, shared=5, depth=2))
    assert network.linear.in_features == 11
    blocks = [module for module in network.layers if isinstance(module, DeepGeneratorBlock)]
    assert [block.doubles for block in blocks] == [False, True, False, True]
    assert network(torch.randn(2, 6), torch.tensor([0, 2])).shape == (2, 2, 8, 12)


def test_of_deep_blocks_the_first_of_a_width_halves() -> None:
    first, *blocks = deep_blocks(DiscriminatorPlan(PLAIN, (4, 8, 8), 1, 2), depth=2)
    assert isinstance(first, torch.nn.Conv2d)
    found = [(block.halves, block.conv4.out_channels) for block in blocks if isinstance(block, DeepDiscriminatorBlock)]
    assert found == [(True, 8), (False, 8), (False, 8), (False, 8)]
