"""The residual blocks of SN-GAN, SAGAN and BigGAN: norm and relu before each convolution, spectral norm at will."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers import mean_pool, upsample_nearest
from pipeline.networks.spectral import Layers

Order = Literal["mimicry", "biggan", "studio"]
Upsampling = Literal["nearest", "bilinear"]
MakeNorm = Callable[[int], nn.Module]

# In which order a block's parameters are listed, so that weights copied one after another meet their like.
_GENERATOR: dict[Order, tuple[str, ...]] = {
    "mimicry": ("conv1", "conv2", "norm1", "norm2", "shortcut"),
    "biggan": ("conv1", "conv2", "shortcut", "norm1", "norm2"),
    "studio": ("norm1", "norm2", "shortcut", "conv1", "conv2"),
}
_CRITIC: dict[Order, tuple[str, ...]] = {
    "mimicry": ("conv1", "conv2", "shortcut"),
    "biggan": ("conv1", "conv2", "shortcut"),
    "studio": ("shortcut", "conv1", "conv2"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How blocks are made.

    order: whose order of parameters. wide: a critic's hidden width is its outputs' (BigGAN), not its
        inputs' (SN-GAN).
    rectified_shortcut: a critic's shortcut sees relu(x) as well, which an in-place relu does in
        mimicry and StudioGAN; elsewhere it sees x.
    """

    layers: Layers
    order: Order = "mimicry"
    upsampling: Upsampling = "nearest"
    wide: bool = False
    rectified_shortcut: bool = False


def normalise(norm: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
    """`norm` of x, with the condition where the norm takes one."""
    return norm(x) if isinstance(norm, (nn.BatchNorm2d, nn.Identity)) else norm(x, condition)


def upsample(x: Tensor, how: Upsampling) -> Tensor:
    """(n, c, h, w) → (n, c, 2h, 2w)."""
    if how == "bilinear":
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return upsample_nearest(x)


def _add(block: nn.Module, parts: dict[str, nn.Module | None], order: tuple[str, ...]) -> None:
    for name in order:
        block.add_module(name, parts[name])


class GeneratorBlock(nn.Module):
    """norm, relu, double, 3×3, norm, relu, 3×3, beside a doubled 1×1: (n, inputs, h, w) → (n, outputs, 2h, 2w)."""

    conv1: nn.Module
    conv2: nn.Module
    norm1: nn.Module
    norm2: nn.Module
    shortcut: nn.Module

    def __init__(self, inputs: int, outputs: int, recipe: Recipe, make_norm: MakeNorm) -> None:
        super().__init__()
        self.upsampling: Upsampling = recipe.upsampling
        parts: dict[str, nn.Module | None] = {
            "conv1": recipe.layers.conv(inputs, outputs, 3),
            "conv2": recipe.layers.conv(outputs, outputs, 3),
            "norm1": make_norm(inputs),
            "norm2": make_norm(outputs),
            "shortcut": recipe.layers.conv(inputs, outputs, 1),
        }
        _add(self, parts, _GENERATOR[recipe.order])

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        y = F.relu(normalise(self.norm1, x, condition))
        y = self.conv1(upsample(y, self.upsampling))
        y = self.conv2(F.relu(normalise(self.norm2, y, condition)))
        return y + self.shortcut(upsample(x, self.upsampling))


class CriticBlock(nn.Module):
    """relu, 3×3, relu, 3×3, 2×2 mean where it halves, beside a 1×1 where anything changes."""

    conv1: nn.Module
    conv2: nn.Module
    shortcut: nn.Module | None

    def __init__(self, inputs: int, outputs: int, recipe: Recipe, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.rectified_shortcut = recipe.rectified_shortcut
        hidden = outputs if recipe.wide else inputs
        parts: dict[str, nn.Module | None] = {
            "conv1": recipe.layers.conv(inputs, hidden, 3),
            "conv2": recipe.layers.conv(hidden, outputs, 3),
            "shortcut": recipe.layers.conv(inputs, outputs, 1) if halves or inputs != outputs else None,
        }
        _add(self, parts, _CRITIC[recipe.order])

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(x)
        if self.rectified_shortcut:
            x = y
        y = self.conv2(F.relu(self.conv1(y)))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return mean_pool(y) + mean_pool(x) if self.halves else y + x


class FirstCriticBlock(nn.Module):
    """3×3, relu, 3×3, 2×2 mean beside a 1×1 of the means: no relu before pixels."""

    conv1: nn.Module
    conv2: nn.Module
    shortcut: nn.Module

    def __init__(self, inputs: int, outputs: int, recipe: Recipe) -> None:
        super().__init__()
        parts: dict[str, nn.Module | None] = {
            "conv1": recipe.layers.conv(inputs, outputs, 3),
            "conv2": recipe.layers.conv(outputs, outputs, 3),
            "shortcut": recipe.layers.conv(inputs, outputs, 1),
        }
        _add(self, parts, _CRITIC[recipe.order])

    def forward(self, x: Tensor) -> Tensor:
        return mean_pool(self.conv2(F.relu(self.conv1(x)))) + self.shortcut(mean_pool(x))
