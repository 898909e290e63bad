from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pipeline.networks.layers.attention import SelfAttention
from pipeline.networks.layers.conv import Layers


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_attention_starts_as_nothing_and_weighs_2x2_maxima() -> None:
    layer = SelfAttention(8, Layers())
    x = torch.randn(2, 8, 6, 4)
    assert torch.equal(layer(x), x)
    assert layer.gamma.shape == ()
    with torch.no_grad():
        layer.gamma.fill_(1.0)
        layer.theta.weight.zero_()  # equal weights: every position sees the mean of g's maxima
    seen = F.max_pool2d(layer.g(x), 2).mean((2, 3), keepdim=True)
    torch.testing.assert_close(layer(x), x + layer.o(seen).expand_as(x))
