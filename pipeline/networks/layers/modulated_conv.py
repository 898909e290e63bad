"""StyleGAN2's layers: convolutions whose input maps are scaled by style and whose outputs are demodulated."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.equalized_lr import EqualisedLinear, add_bias, clamped, leaky_unit
from pipeline.networks.layers.noise import Noise, noise_map
from pipeline.networks.layers.resample import UpConvolution

FILTER = (1.0, 3.0, 3.0, 1.0)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """1/√(Σ (s·w)² + 1e-8) per example and output map: weight (o, i, k, k), style (n, i) → (n, o).

    Karras et al. 2020, equation 3.
    """
    return (style.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt()


def modulated(x: Tensor, weight: Tensor, style: Tensor, up: UpConvolution | None = None) -> Tensor:
    """x (n, i, h, w) times style (n, i), convolved: equation 1 on activations in place of weights."""
    x = x * style[:, :, None, None]
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2) if up is None else up(x, weight)


class StyledConv(nn.Module):
    """x (n, inputs, h, w) and w (n, width) → (n, outputs, size): modulate, demodulate, noise, bias, leaky relu.

    `size` is the output's; twice the input's where `up`. The noise of each pixel has one strength,
    which starts at 0.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, size: tuple[int, int], up: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_const: Tensor
        self.register_buffer("noise_const", torch.randn(size))
        self.affine = EqualisedLinear(width, inputs, bias_start=1.0)
        self.up = UpConvolution(FILTER, 3) if up else None
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        style = self.affine(w)
        x = modulated(x, self.weight, style, self.up) * demodulation(self.weight, style)[:, :, None, None]
        drawn = noise_map(noise, self.noise_const, x.shape[0])
        if drawn is not None:
            x = x + drawn * self.noise_strength
        return leaky_unit(add_bias(x, self.bias), clamp=self.clamp)


class ToImage(nn.Module):
    """x (n, inputs, h, w) and w (n, width) → (n, channels, h, w): a modulated 1×1 without demodulation."""

    def __init__(self, inputs: int, channels: int, width: int, clamp: float | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = EqualisedLinear(width, inputs, bias_start=1.0)
        self.scale = 1 / math.sqrt(inputs)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        y = modulated(x, self.weight, self.affine(w) * self.scale)
        return clamped(add_bias(y, self.bias), clamp=self.clamp)
