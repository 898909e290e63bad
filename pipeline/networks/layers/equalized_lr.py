"""Equalised learning rates: weights start as N(0, 1) and carry He's constant at run time (Karras et al. 2018)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


HE_GAIN = math.sqrt(2)


def leaky(x: Tensor) -> Tensor:
    """Leaky relu of slope 0.2; the gain √2 that keeps the variance stands in the weights (ProGAN, StyleGAN)."""
    return F.leaky_relu(x, SLOPE)


def leaky_unit(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """gain·√2·leaky(x), cut at ±gain·clamp: StyleGAN2 puts the gain behind the activation."""
    return clamped(F.leaky_relu(x, SLOPE) * (HE_GAIN * gain), gain, clamp)


def clamped(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """x cut at ±gain·clamp; without a clamp, x."""
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


class EqualisedLinear(nn.Module):
    """(n, inputs) → (n, outputs): x·Wᵀ·gain/√inputs + b; no activation.

    rate: multiplies the layer's learning rate: weights start as N(0, 1/rate), and weight and bias
        are used times `rate` (StyleGAN's mapping: 0.01).
    """

    def __init__(
        self, inputs: int, outputs: int, gain: float = 1.0, bias: bool = True, bias_start: float = 0.0, rate: float = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias_start)) if bias else None
        self.scale = gain * rate / math.sqrt(inputs)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.bias is None or self.rate == 1 else self.bias * self.rate
        return F.linear(x, self.weight * self.scale, bias)


class EqualisedConv(nn.Module):
    """(n, inputs, h, w) → (n, outputs, h, w), k×k, zero-padded to the same size; no activation.

    `scaled` is the weight as used: N(0, 1)·gain/√(inputs·k²).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel**2)
        self.padding = kernel // 2

    @property
    def scaled(self) -> Tensor:
        return self.weight * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.scaled, self.bias, padding=self.padding)


def add_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    """x (n, c, h, w) plus a bias (c,) per channel."""
    return x if bias is None else x + bias.view(1, -1, 1, 1)
