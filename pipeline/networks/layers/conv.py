"""How a network makes its convolutions and linear layers, and convolutions that pad as TensorFlow's SAME."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dimensions import CONVOLUTIONS, TRANSPOSED
from pipeline.networks.layers.init import uniform_variance


class Layers:
    """torch's own layers; designs that draw them otherwise, or normalise their weights, override."""

    def conv(self, inputs: int, outputs: int, kernel: int, bias: bool = True) -> nn.Conv2d:
        """A same-padded convolution of stride 1."""
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def outer(self, inputs: int, outputs: int) -> nn.Conv2d:
        """The 3×3 convolution next to the image, in no residual branch."""
        return self.conv(inputs, outputs, 3)

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
        """A linear layer."""
        return nn.Linear(inputs, outputs, bias)

    def embedding(self, classes: int, width: int) -> nn.Embedding:
        """A table of one row a class."""
        return nn.Embedding(classes, width)


class HeLayers(Layers):
    """WGAN-GP's: uniform of He's variance in residual branches, of Glorot's in 1×1 shortcuts and elsewhere."""

    def conv(self, inputs: int, outputs: int, kernel: int, bias: bool = True) -> nn.Conv2d:
        return he_conv(inputs, outputs, kernel, 2.0 if kernel > 1 else 1.0, bias)

    def outer(self, inputs: int, outputs: int) -> nn.Conv2d:
        return he_conv(inputs, outputs, 3, gain=1.0)

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
        return glorot_linear(inputs, outputs, bias)


def he_conv(inputs: int, outputs: int, kernel: int, gain: float = 2.0, bias: bool = True) -> nn.Conv2d:
    """A same-padded convolution, uniform of variance 2·gain/(fan_in + fan_out), bias 0."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    uniform_variance(layer.weight, 2 * gain / (kernel**2 * (inputs + outputs)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def glorot_linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """Uniform of variance 2/(fan_in + fan_out), bias 0."""
    layer = nn.Linear(inputs, outputs, bias)
    uniform_variance(layer.weight, 2 / (inputs + outputs))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis so that ⌈length/stride⌉ positions come out; the odd one goes after."""
    outputs = math.ceil(length / stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class SameConv(nn.Module):
    """(n, inputs, …) → (n, outputs, ⌈…/stride⌉)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, dimensions: int = 2, bias: bool = True
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.conv = CONVOLUTIONS[dimensions](inputs, outputs, kernel, stride, bias=bias)
        fan = kernel**dimensions * (inputs + outputs / stride**dimensions)
        uniform_variance(self.conv.weight, 4 / fan)
        if bias:
            nn.init.zeros_(_bias(self.conv))

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for length in reversed(x.shape[2:]):  # F.pad counts axes from the last
            padding += same_padding(length, self.kernel, self.stride)
        return self.conv(F.pad(x, padding))


class SameTransposed(nn.Module):
    """(n, inputs, …) → (n, outputs, …·stride): what SameConv of that size would carry backwards.

    The full transposed convolution, cut to begin at (kernel − stride)//2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, dimensions: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.begin = (kernel - stride) // 2
        self.conv = TRANSPOSED[dimensions](inputs, outputs, kernel, stride)
        fan = kernel**dimensions * (inputs / stride**dimensions + outputs)
        uniform_variance(self.conv.weight, 4 / fan)
        nn.init.zeros_(_bias(self.conv))

    def forward(self, x: Tensor) -> Tensor:
        full = self.conv(x)
        for axis, length in enumerate(x.shape[2:], start=2):
            full = full.narrow(axis, self.begin, length * self.stride)
        return full


def _bias(layer: nn.Module) -> Tensor:
    bias = layer.bias
    assert isinstance(bias, Tensor)
    return bias
