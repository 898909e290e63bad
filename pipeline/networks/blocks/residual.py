"""Residual blocks with norm and relu before each convolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.conv import he_conv
from pipeline.networks.layers.norm import NormName, make_norm, normalise
from pipeline.networks.layers.resample import Upsampling, mean_pool, upsample
from pipeline.networks.layers.spectral_norm import Layers

Order = Literal["mimicry", "biggan", "studio"]


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


Resample = Literal["up", "down", "none"]


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """One block: its widths, what happens to the resolution, the norm, and whether conv 1 has a bias.

    rectified_shortcut: the shortcut sees relu(x), as mimicry's in-place relu makes it without a norm.
    """

    inputs: int
    outputs: int
    resample: Resample = "none"
    norm: NormName = "none"
    classes: int = 0
    bias: bool = True
    upsampling: Upsampling = "nearest"
    rectified_shortcut: bool = False


class ResidualBlock(nn.Module):
    """norm, relu, conv, norm, relu, conv, beside a shortcut (1×1 where anything changes).

    Up: nearest then conv, wide from conv 1 on. Down: conv then 2×2 mean, wide from conv 2 on.
    """

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.resample = plan.resample
        self.upsampling: Upsampling = plan.upsampling
        self.rectified_shortcut = plan.rectified_shortcut
        hidden = plan.outputs if plan.resample == "up" else plan.inputs
        # Listed as mimicry lists them, so that weights copied in order meet their like.
        self.conv1 = he_conv(plan.inputs, hidden, 3, bias=plan.bias)
        self.conv2 = he_conv(hidden, plan.outputs, 3)
        self.norm1 = make_norm(plan.norm, plan.inputs, plan.classes)
        self.norm2 = make_norm(plan.norm, hidden, plan.classes)
        keeps = plan.inputs == plan.outputs and plan.resample == "none"
        self.shortcut = None if keeps else he_conv(plan.inputs, plan.outputs, 1, gain=1.0)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        y = F.relu(normalise(self.norm1, x, label))
        if self.rectified_shortcut:
            x = F.relu(x)
        y = self.conv1(upsample(y, self.upsampling) if self.resample == "up" else y)
        y = self.conv2(F.relu(normalise(self.norm2, y, label)))
        if self.resample == "down":
            y = mean_pool(y)
        if self.shortcut is None:
            return x + y
        if self.resample == "down":
            x = mean_pool(x)
        return self.shortcut(upsample(x, self.upsampling) if self.resample == "up" else x) + y


class FirstBlock(nn.Module):
    """The critic's optimised first block: conv, relu, conv, 2×2 mean; the shortcut means first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = he_conv(inputs, outputs, 3)
        self.conv2 = he_conv(outputs, outputs, 3)
        self.shortcut = he_conv(inputs, outputs, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        return mean_pool(self.conv2(F.relu(self.conv1(x)))) + self.shortcut(mean_pool(x))
