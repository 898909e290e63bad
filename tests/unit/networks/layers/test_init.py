from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.networks.layers import init


def test_dcgan_initialisation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 64, 4), nn.BatchNorm2d(4096), nn.ConvTranspose2d(64, 64, 4))
    init.normal(0.02, network)
    convolution, norm, _ = network
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.002)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not norm.bias.any()
    assert convolution.bias is not None
    assert not convolution.bias.any()


@given(bound=st.floats(1e-3, 1))
def test_uniform_initialisations(bound: float) -> None:
    layer = nn.Linear(50, 40)
    init.uniform(bound, layer)
    assert layer.weight.abs().max() <= bound
    assert not layer.bias.any()
    init.uniform_variance(layer.weight, bound)
    assert layer.weight.abs().max() <= math.sqrt(3 * bound) + 1e-6
    assert layer.weight.var().item() == pytest.approx(bound, rel=0.15)
