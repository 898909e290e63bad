"""Strided stacks with dense layers at their small end: the original DCGAN, its conditional twin, InfoGAN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.embedding import join


@dataclass(frozen=True, slots=True)
class DensePlan:
    """What both stacks are built from.

    base: the smallest map. widths: maps at each resolution from the smallest up, one doubling after each.
    hidden: units of dense layers beyond it, from the far end.
    joined: numbers of a label's code that stand beside the input of every layer.
    affine: whether batch norms have gains and biases. slope: of the discriminator's leaky relu.
    places_first: numbers of the smallest map stand by place and then by map where they meet a dense layer,
        as TensorFlow lays out images; else by map and then by place, as Theano.
    """

    base: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    hidden: tuple[int, ...] = ()
    kernel: Literal[4, 5] = 5
    bias: bool = False
    joined: int = 0
    affine: bool = True
    norm_eps: float = 1e-5
    slope: float = 0.2
    places_first: bool = False

    @property
    def flat(self) -> int:
        """Numbers in the smallest map."""
        return self.widths[0] * math.prod(self.base)

    def spread(self, x: Tensor) -> Tensor:
        """A dense layer's output (n, flat) as the smallest map (n, maps, h, w)."""
        if self.places_first:
            return x.view(-1, *self.base, self.widths[0]).permute(0, 3, 1, 2)
        return x.view(-1, self.widths[0], *self.base)

    def gather(self, x: Tensor) -> Tensor:
        """The smallest map (n, maps, h, w) as a dense layer's input (n, flat)."""
        return (x.permute(0, 2, 3, 1) if self.places_first else x).flatten(1)

    def dense(self, inputs: int, units: int) -> DenseStage:
        """A dense layer with batch norm of each unit."""
        layer = nn.Linear(inputs + self.joined, units, bias=self.bias)
        return DenseStage(layer, nn.BatchNorm1d(units, eps=self.norm_eps, affine=self.affine))

    def maps(self, layer: nn.Module, width: int) -> DenseStage:
        """A convolution with batch norm of each map."""
        return DenseStage(layer, nn.BatchNorm2d(width, eps=self.norm_eps, affine=self.affine))


class DenseStage(nn.Module):
    """A layer and the norm behind it; the code is joined to the layer's input."""

    def __init__(self, layer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.norm(self.layer(join(x, code)))


class DenseUpward(nn.Module):
    """Noise (n, inputs) and code (n, joined) → logits of the image (n, channels, base·2^widths).

    Doubling is a transposed convolution of stride 2; with kernel 5 its padding is (2, 2) and one row and
    column more at the end, as Theano's gradient of a convolution has it.
    """

    def __init__(self, plan: DensePlan, inputs: int) -> None:
        super().__init__()
        self.plan = plan
        sizes = (inputs, *plan.hidden, plan.flat)
        self.dense = nn.ModuleList(plan.dense(before, units) for before, units in pairwise(sizes))
        self.levels = nn.ModuleList(
            plan.maps(self._double(plan, before, width), width) for before, width in pairwise(plan.widths)
        )
        self.last = self._double(plan, plan.widths[-1], plan.channels)

    @staticmethod
    def _double(plan: DensePlan, inputs: int, outputs: int) -> nn.ConvTranspose2d:
        odd = plan.kernel % 2
        return nn.ConvTranspose2d(
            inputs + plan.joined, outputs, plan.kernel, 2, plan.kernel // 2 - 1 + odd, odd, bias=plan.bias
        )

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        x = noise
        for stage in self.dense:
            x = F.relu(stage(x, code))
        x = self.plan.spread(x)
        for stage in self.levels:
            x = F.relu(stage(x, code))
        return self.last(join(x, code))


class DenseDownward(nn.Module):
    """x (n, channels, base·2^widths) and code (n, joined) → logits (n,); no norm behind the first layer."""

    def __init__(self, plan: DensePlan) -> None:
        super().__init__()
        self.plan = plan
        widths = plan.widths[::-1]
        self.first = self._halve(plan, plan.channels, widths[0])
        self.levels = nn.ModuleList(
            plan.maps(self._halve(plan, before, width), width) for before, width in pairwise(widths)
        )
        sizes = (plan.flat, *plan.hidden[::-1])
        self.dense = nn.ModuleList(plan.dense(before, units) for before, units in pairwise(sizes))
        self.head = nn.Linear(sizes[-1] + plan.joined, 1, bias=plan.bias)

    @staticmethod
    def _halve(plan: DensePlan, inputs: int, outputs: int) -> nn.Conv2d:
        padding = plan.kernel // 2 - 1 + plan.kernel % 2
        return nn.Conv2d(inputs + plan.joined, outputs, plan.kernel, 2, padding, bias=plan.bias)

    def features(self, x: Tensor, code: Tensor) -> Tensor:
        """What the head reads: (n, units)."""
        x = F.leaky_relu(self.first(join(x, code)), self.plan.slope)
        for stage in self.levels:
            x = F.leaky_relu(stage(x, code), self.plan.slope)
        x = self.plan.gather(x)
        for stage in self.dense:
            x = F.leaky_relu(stage(x, code), self.plan.slope)
        return x

    def read(self, features: Tensor, code: Tensor) -> Tensor:
        """Logits (n,) of features."""
        return self.head(join(features, code)).flatten()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.read(self.features(x, code), code)
