"""WGAN-GP's residual pair: pre-activation blocks that double, halve or keep the resolution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.initialisation import uniform_variance
from pipeline.networks.layers import mean_pool
from pipeline.networks.normalisation import NormName, make_norm, normalise
from pipeline.networks.pre_activation import Upsampling, upsample

Resample = Literal["up", "down", "none"]


def he_conv(inputs: int, outputs: int, kernel: int, gain: float = 2.0, bias: bool = True) -> nn.Conv2d:
    """Uniform of variance 2·gain/(fan_in + fan_out): gain 2 in residual branches, 1 in shortcuts."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    uniform_variance(layer.weight, 2 * gain / (kernel**2 * (inputs + outputs)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def glorot_linear(inputs: int, outputs: int) -> nn.Linear:
    """Uniform of variance 2/(fan_in + fan_out), bias 0."""
    layer = nn.Linear(inputs, outputs)
    uniform_variance(layer.weight, 2 / (inputs + outputs))
    nn.init.zeros_(layer.bias)
    return layer


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


@dataclass(frozen=True, slots=True)
class ResidualPlan:
    """base: the generator's smallest map; widths: its maps from there up, one doubling between."""

    base: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    norm: NormName = "batch"
    classes: int = 0
    bias: bool = True
    upsampling: Upsampling = "nearest"


class ResidualGenerator(nn.Module):
    """Noise (n, inputs) → logits of the image (n, channels, base·2^(widths − 1)).

    With classes, batch norms inside the blocks are per class and the last is not.
    """

    def __init__(self, plan: ResidualPlan, inputs: int) -> None:
        super().__init__()
        self.shape = (plan.widths[0], *plan.base)
        self.first = glorot_linear(inputs, plan.widths[0] * plan.base[0] * plan.base[1])
        self.blocks = nn.ModuleList(
            ResidualBlock(BlockPlan(before, width, "up", plan.norm, plan.classes, plan.bias, plan.upsampling))
            for before, width in zip(plan.widths, plan.widths[1:], strict=False)
        )
        self.norm = make_norm(plan.norm, plan.widths[-1])
        self.output = he_conv(plan.widths[-1], plan.channels, 3, gain=1.0)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.first(noise).view(-1, *self.shape)
        for block in self.blocks:
            x = block(x, label)
        return self.output(F.relu(self.norm(x)))


@dataclass(frozen=True, slots=True)
class ResidualCriticPlan:
    """widths: one halving each; plain: blocks after them; opening: `block` halves, `conv` does not.

    head: `mean` (relu, mean over the map) or `flat` (all of the last map, of shape `base`).
    With `conv`, widths[0] is the opening's and each further one halves.
    """

    base: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    plain: int = 2
    opening: Literal["block", "conv"] = "block"
    head: Literal["mean", "flat"] = "mean"
    norm: NormName = "none"
    bias: bool = True
    rectified_shortcut: bool = False


class ResidualCritic(nn.Module):
    """x (n, channels, h, w) → features (n, `features`), to be read by linear heads."""

    def __init__(self, plan: ResidualCriticPlan) -> None:
        super().__init__()
        self.head = plan.head
        first = plan.widths[0]
        opening: nn.Module = (
            FirstBlock(plan.channels, first) if plan.opening == "block" else he_conv(plan.channels, first, 3, gain=1.0)
        )

        def block(before: int, width: int, resample: Resample) -> ResidualBlock:
            kept = BlockPlan(before, width, resample, plan.norm, bias=plan.bias)
            return ResidualBlock(replace(kept, rectified_shortcut=plan.rectified_shortcut))

        down = (block(before, width, "down") for before, width in zip(plan.widths, plan.widths[1:], strict=False))
        last = plan.widths[-1]
        plain = (block(last, last, "none") for _ in range(plan.plain))
        self.layers = nn.Sequential(opening, *down, *plain)
        self.features = last if plan.head == "mean" else last * plan.base[0] * plan.base[1]

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        if self.head == "mean":
            return F.relu(x).mean((2, 3))
        return torch.flatten(x, 1)
