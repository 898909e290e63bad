from __future__ import annotations

import pytest
import torch

from pipeline.networks.layers.equalized_lr import HE_GAIN, EqualisedConv, EqualisedLinear, add_bias, leaky, leaky_unit


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gain", [1.0, HE_GAIN])
def test_layers_keep_the_standard_deviation_by_their_gain(gain: float) -> None:
    torch.manual_seed(0)
    dense, conv = EqualisedLinear(512, 512, gain), EqualisedConv(64, 64, 3, gain)
    assert dense.weight.std().item() == pytest.approx(1, rel=0.02)
    assert conv.weight.std().item() == pytest.approx(1, rel=0.02)
    assert dense(noise(512, 512, seed=1)).std().item() == pytest.approx(gain, rel=0.02)
    inside = conv(noise(16, 64, 12, 12, seed=1))[..., 1:-1, 1:-1]
    assert inside.std().item() == pytest.approx(gain, rel=0.03)


def test_he_gain_keeps_the_second_moment_through_leaky_relu() -> None:
    """E[leaky(√2·u)²] = 2·(1 + 0.2²)/2 for u ~ N(0, 1)."""
    u = noise(200_000)
    assert leaky(HE_GAIN * u).square().mean().item() == pytest.approx(1.04, rel=0.02)
    torch.testing.assert_close(leaky_unit(u), HE_GAIN * leaky(u))


def test_a_rate_changes_the_weights_and_not_the_function() -> None:
    torch.manual_seed(0)
    slow = EqualisedLinear(64, 32, rate=0.01, bias_start=2.0)
    assert slow.weight.std().item() == pytest.approx(100, rel=0.1)
    x = noise(4, 64)
    torch.testing.assert_close(slow(x), x @ slow.weight.T * 0.01 / 8 + 0.02)


def test_gain_and_clamp_act_behind_the_activation() -> None:
    x = torch.tensor([-1.0, 1.0, 100.0])
    wanted = torch.tensor([-0.2 * HE_GAIN / 2, HE_GAIN / 2, 5.0])
    torch.testing.assert_close(leaky_unit(x, gain=0.5, clamp=10.0), wanted)


def test_no_bias_is_no_bias() -> None:
    x = noise(1, 2, 3, 3)
    assert add_bias(x, None) is x
    assert EqualisedConv(2, 3, 1, bias=False).bias is None
    assert len(list(EqualisedLinear(2, 3, bias=False).parameters())) == 1
