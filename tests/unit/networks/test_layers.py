from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.networks.layers import init
from pipeline.networks.layers.dropout import dropout
from pipeline.networks.layers.embedding import one_hot
from pipeline.networks.layers.maxout import Maxout
from pipeline.networks.layers.norm import ChannelLayerNorm, ConditionalBatchNorm, make_norm, normalise
from pipeline.networks.layers.resample import mean_pool, upsample_nearest


def test_maxout_takes_the_largest_piece_of_each_unit() -> None:
    layer = Maxout(1, 2, 3)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0], [-2.0], [0.0], [4.0], [5.0], [6.0]]))
        layer.linear.bias.zero_()
    assert layer(torch.tensor([[1.0], [-1.0]])).tolist() == [[1.0, 6.0], [2.0, -4.0]]


def test_dropout_scales_what_it_keeps_and_repeats() -> None:
    x = torch.ones(100, 100)
    kept = dropout(x, 0.8, torch.Generator().manual_seed(0))
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert kept.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(kept, dropout(x, 0.8, torch.Generator().manual_seed(0)))
    assert dropout(x, 0.8, None) is x
    assert dropout(x, 1.0, torch.Generator()) is x


def test_resampling_by_repetition_and_mean_are_inverse() -> None:
    x = torch.arange(12.0).view(1, 2, 2, 3)
    assert upsample_nearest(x)[0, 0].tolist()[:2] == [[0, 0, 1, 1, 2, 2]] * 2
    assert torch.equal(mean_pool(upsample_nearest(x)), x)


def test_one_hot() -> None:
    assert one_hot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_conditional_batch_norm_gives_each_class_its_gain_and_bias() -> None:
    norm = ConditionalBatchNorm(2, 3)
    x = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    plain = norm(x, label)
    torch.testing.assert_close(plain, nn.BatchNorm2d(2)(x))
    with torch.no_grad():
        norm.gain[1] = 2.0
        norm.bias[2] = 5.0
    changed = norm(x, label)
    torch.testing.assert_close(changed[1], 2 * plain[1])
    torch.testing.assert_close(changed[2], plain[2] + 5)
    torch.testing.assert_close(changed[0], plain[0])


def test_layer_norm_is_per_example_with_a_gain_per_channel() -> None:
    norm = ChannelLayerNorm(3)
    assert sum(p.numel() for p in norm.parameters()) == 6
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 7 + 3
    y = norm(x)
    assert y.mean((1, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(y.var((1, 2, 3), unbiased=False), torch.ones(2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm(x[:1]), y[:1])


def test_norms_by_name() -> None:
    x = torch.randn(2, 4, 3)
    assert normalise(make_norm("none", 4), x, None) is x
    assert isinstance(make_norm("batch", 4, dimensions=1), nn.BatchNorm1d)
    assert isinstance(make_norm("batch", 4, 3, 3), ConditionalBatchNorm)
    assert normalise(make_norm("batch", 4, 3, 1), x, torch.tensor([0, 2])).shape == x.shape


def test_dcgan_initialisation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 64, 4), nn.BatchNorm2d(4096), nn.ConvTranspose2d(64, 64, 4))
    init.normal(network, 0.02)
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
    init.uniform(layer, bound)
    assert layer.weight.abs().max() <= bound
    assert not layer.bias.any()
    init.uniform_variance(layer.weight, bound)
    assert layer.weight.abs().max() <= math.sqrt(3 * bound) + 1e-6
    assert layer.weight.var().item() == pytest.approx(bound, rel=0.15)
