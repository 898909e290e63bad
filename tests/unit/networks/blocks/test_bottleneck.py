from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.networks.blocks.bottleneck import DeepDiscriminatorBlock, DeepGeneratorBlock
from pipeline.networks.blocks.residual import Recipe
from pipeline.networks.layers.conv import Layers

PLAIN = Recipe(Layers())


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_deep_shortcuts_have_no_weights_of_their_own_where_maps_stay() -> None:
    up = DeepGeneratorBlock(8, 4, PLAIN, nn.BatchNorm2d, doubles=True)
    with torch.no_grad():
        up.conv4.weight.zero_()
        up.conv4.bias.zero_()
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(up(x, None), F.interpolate(x[:, :4], scale_factor=2))
    down = DeepDiscriminatorBlock(4, 8, PLAIN, halves=True)
    with torch.no_grad():
        down.conv4.weight.zero_()
        down.conv4.bias.zero_()
    x = torch.randn(2, 4, 4, 4)
    torch.testing.assert_close(down(x)[:, :4], F.avg_pool2d(x, 2))
