"""ESRGAN, Wang et al. 2018: dense blocks within dense blocks, without batch norm, and its VGG-like discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.architectures.srgan import SLOPE, EnlargerPlan
from pipeline.networks.layers.init import kaiming
from pipeline.networks.layers.resample import upsample_nearest

DENSE = 5  # convolutions of a dense block
WITHIN = 3  # dense blocks of a residual one
UNITS = 100
SHRINK = 0.1  # of the weights of dense blocks, at the start (Wang et al. 2018, section 3.4)
HALVINGS = 5


class Rrdb(nn.Module):
    """x (n, inputs, h, w) → (n, outputs, scale·h, scale·w), of any size (Wang et al. 2018, section 3.1).

    3×3; blocks of three dense blocks each; 3×3, joined to what came before the blocks; for each doubling nearest
    enlargement, 3×3, leaky relu 0.2; 3×3, leaky relu; 3×3. growth: maps that each dense layer adds. residual: what
    branches are multiplied by before they are added.
    """

    def __init__(self, plan: EnlargerPlan, growth: int = 32, residual: float = 0.2) -> None:
        super().__init__()
        width = plan.width
        self.first = _conv(plan.inputs, width)
        self.blocks = nn.Sequential(*(_Block(width, growth, residual) for _ in range(plan.blocks)))
        self.join = _conv(width, width)
        self.doublings = nn.ModuleList(_conv(width, width) for _ in range(plan.doublings))
        self.fine = _conv(width, width)
        self.last = _conv(width, plan.outputs)
        kaiming(self.blocks, scale=SHRINK)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.join(self.blocks(x))
        for level in self.doublings:
            x = F.leaky_relu(level(upsample_nearest(x)), SLOPE)
        return self.last(F.leaky_relu(self.fine(x), SLOPE))


class _Dense(nn.Module):
    """Five 3×3 convolutions, each of all maps so far; the last is added to x, times `residual`."""

    def __init__(self, width: int, growth: int, residual: float) -> None:
        super().__init__()
        self.residual = residual
        outputs = [growth] * (DENSE - 1) + [width]
        self.layers = nn.ModuleList(_conv(width + number * growth, maps) for number, maps in enumerate(outputs))

    def forward(self, x: Tensor) -> Tensor:
        held = [x]
        for number, layer in enumerate(self.layers):
            made = layer(torch.cat(held, dim=1))
            held.append(F.leaky_relu(made, SLOPE) if number < DENSE - 1 else made)
        return x + self.residual * held[-1]


class _Block(nn.Module):
    """Three dense blocks, and x again."""

    def __init__(self, width: int, growth: int, residual: float) -> None:
        super().__init__()
        self.residual = residual
        self.dense = nn.Sequential(*(_Dense(width, growth, residual) for _ in range(WITHIN)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual * self.dense(x)


class EsrganDiscriminator(nn.Module):
    """x (n, channels, *sides) → logits (n,): sides of 32 or more, 128 as published.

    For 1, 2, 4, 8 and 8 times `width` maps a 3×3 convolution and a 4×4 of stride 2, batch norm in all but the first,
    leaky relu 0.2; then 100 units, leaky relu, and one.
    """

    def __init__(self, channels: int, sides: tuple[int, int], width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for level in (1, 2, 4, 8, 8):
            after = level * width
            if layers:
                layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            else:
                layers.append(nn.Conv2d(before, after, 3, padding=1))
            layers += [
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(after, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(SLOPE),
            ]
            before = after
        self.features = nn.Sequential(*layers)
        height, wide = (side // 2**HALVINGS for side in sides)
        self.head = nn.Sequential(nn.Linear(before * height * wide, UNITS), nn.LeakyReLU(SLOPE), nn.Linear(UNITS, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.features(x), 1)).squeeze(1)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
