from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.networks.layers.modulated_conv import StyledConv, ToImage, demodulation, modulated


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_modulation_on_activations_is_modulation_of_weights() -> None:
    """Equation 1: w′ = s·w for each example."""
    x, weight, style = noise(3, 4, 5, 6), noise(2, 4, 3, 3, seed=1), noise(3, 4, seed=2)
    y = modulated(x, weight, style)
    for n in range(3):
        own = weight * style[n].view(1, -1, 1, 1)
        torch.testing.assert_close(y[n : n + 1], F.conv2d(x[n : n + 1], own, padding=1))


def test_demodulation_gives_weights_of_unit_norm() -> None:
    """Equation 3: Σ (s·w·d)² = 1 for every example and output map."""
    weight, style = noise(5, 4, 3, 3), noise(3, 4, seed=1)
    d = demodulation(weight, style)
    assert d.shape == (3, 5)
    full = weight[None] * style[:, None, :, None, None] * d[:, :, None, None, None]
    torch.testing.assert_close(full.square().sum((2, 3, 4)), torch.ones(3, 5))


def test_styled_layer_keeps_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer = StyledConv(64, 64, 8, (10, 10), up=False, clamp=None)
    y = layer(noise(32, 64, 10, 10), 30 * noise(32, 8, seed=1), "none")[..., 1:-1, 1:-1]
    assert y.square().mean().item() == pytest.approx(1.04, rel=0.1), "√2·leaky keeps the second moment"


def test_noise_starts_without_strength_and_then_adds() -> None:
    torch.manual_seed(0)
    layer = StyledConv(4, 4, 6, (5, 5), up=False, clamp=None)
    x, w = noise(2, 4, 5, 5), noise(2, 6)
    still = layer(x, w, "none")
    assert torch.equal(layer(x, w, "const"), still)
    with torch.no_grad():
        layer.noise_strength.fill_(0.5)
    assert not torch.equal(layer(x, w, "const"), still)
    drawn = [layer(x, w, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_up_doubles_and_image_head_has_no_demodulation() -> None:
    torch.manual_seed(0)
    w = noise(2, 6)
    assert StyledConv(4, 3, 6, (8, 6), up=True, clamp=256.0)(noise(2, 4, 4, 3), w, "const").shape == (2, 3, 8, 6)
    head = ToImage(4, 3, 6, clamp=None)
    x = noise(2, 4, 5, 5)
    torch.testing.assert_close(head(3 * x, w), 3 * head(x, w))
    style = head.affine(w) / math.sqrt(4)
    torch.testing.assert_close(head(x, w), modulated(x, head.weight, style))
    assert ToImage(4, 3, 6, clamp=0.1)(1e3 * x, w).abs().max().item() == pytest.approx(0.1)
