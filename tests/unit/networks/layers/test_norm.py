from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.networks.layers.conv import Layers
from pipeline.networks.layers.norm import (
    ChannelLayerNorm,
    ConditionalBatchNorm,
    LinearBatchNorm,
    OffsetBatchNorm,
    gathered_statistics,
    instance_norm,
    make_norm,
    normalise,
    pixel_norm,
)


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


def test_norms_from_conditions_start_from_plain_ones() -> None:
    x = torch.randn(6, 3, 4, 4)
    plain = nn.BatchNorm2d(3, affine=False)(x)
    offset, vector = OffsetBatchNorm(3, 5), LinearBatchNorm(3, 4, Layers())
    code = torch.randn(6, 4)
    with torch.no_grad():
        for norm in (offset, vector):
            norm.gain.weight.zero_()
            norm.bias.weight.zero_()
    torch.testing.assert_close(offset(x, torch.arange(6) % 5), plain)
    torch.testing.assert_close(vector(x, code), plain)
    with torch.no_grad():
        vector.gain.weight.normal_()
        vector.bias.weight.normal_()
    gain, bias = code @ vector.gain.weight.T, code @ vector.bias.weight.T
    torch.testing.assert_close(vector(x, code), plain * (1 + gain)[:, :, None, None] + bias[:, :, None, None])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(channels=st.integers(1, 40), scale=st.floats(1e-2, 1e3), seed=st.integers(0, 99))
def test_pixel_norm_gives_every_vector_the_norm_root_c(channels: int, scale: float, seed: int) -> None:
    y = pixel_norm(noise(2, channels, 3, 2, seed=seed).sign() * scale)
    torch.testing.assert_close(y.norm(dim=1), torch.full((2, 3, 2), math.sqrt(channels)), rtol=1e-3, atol=0)


def test_pixel_norm_of_nothing_is_nothing() -> None:
    assert not pixel_norm(torch.zeros(2, 5)).any()


def test_instance_norm() -> None:
    y = instance_norm(5 + 3 * noise(2, 4, 6, 6))
    torch.testing.assert_close(y.mean((2, 3)), torch.zeros(2, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var((2, 3), correction=0), torch.ones(2, 4))


def test_gathered_statistics_are_plain_means() -> None:
    norm = nn.BatchNorm1d(2)
    norm.running_mean = torch.tensor([9.0, 9.0])
    batches = [torch.randn(8, 2) + shift for shift in (0, 4, 5)]
    with gathered_statistics(norm):
        for batch in batches:
            norm(batch)
    assert norm.momentum == 0.1
    assert not norm.training
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, torch.stack([batch.mean(0) for batch in batches]).mean(0))
