"""WGAN-GP, Gulrajani et al. 2017: the residual pair, and the strided one for any height and width."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.residual import BlockPlan, FirstBlock, Resample, ResidualBlock
from pipeline.networks.layers.conv import SameConv, SameTransposed, glorot_linear, he_conv
from pipeline.networks.layers.dimensions import BATCH_NORMS
from pipeline.networks.layers.norm import NormName, make_norm, normalise
from pipeline.networks.layers.resample import Upsampling


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


KERNEL = 5


SLOPE = 0.2


def halvings(resolution: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """The resolution and what `count` halvings leave of it, rounded up: 28 → 28, 14, 7, 4."""
    sizes = [resolution]
    for _ in range(count):
        sizes.append(tuple(math.ceil(axis / 2) for axis in sizes[-1]))
    return sizes


@dataclass(frozen=True, slots=True)
class StridedPlan:
    """widths: maps from the smallest resolution up, one doubling after each.

    first_norm: batch norm of the dense layer per `unit` or per `channel`.
    """

    resolution: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    norm: NormName = "batch"
    first_norm: Literal["unit", "channel"] = "channel"
    classes: int = 0


class StridedGenerator(nn.Module):
    """Noise (n, inputs) → logits of the image (n, channels, h, w).

    A doubling that goes past the size which the critic would halve is cut at its end, as the
    reference cuts 8 to 7 on the way to 28.
    """

    def __init__(self, plan: StridedPlan, inputs: int) -> None:
        super().__init__()
        self.sizes = halvings(plan.resolution, len(plan.widths))[::-1]
        self.shape = (plan.widths[0], *self.sizes[0])
        units = math.prod(self.shape)
        self.first = glorot_linear(inputs, units)
        per_unit = plan.norm in ("batch", "fused") and plan.first_norm == "unit"
        self.unit_norm = BATCH_NORMS[1](units) if per_unit else None
        first: NormName = "none" if per_unit else plan.norm
        self.norms = nn.ModuleList(
            make_norm(plan.norm if index else first, width, plan.classes if index or not per_unit else 0)
            for index, width in enumerate(plan.widths)
        )
        outputs = (*plan.widths[1:], plan.channels)
        self.levels = nn.ModuleList(
            SameTransposed(before, after, KERNEL, 2) for before, after in zip(plan.widths, outputs, strict=True)
        )

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.first(noise)
        if self.unit_norm is not None:
            x = self.unit_norm(x)
        x = x.view(-1, *self.shape)
        for level, norm, (height, width) in zip(self.levels, self.norms, self.sizes[1:], strict=True):
            x = level(F.relu(normalise(norm, x, label)))[:, :, :height, :width]
        return x


class StridedCritic(nn.Module):
    """x (n, channels, h, w) → features (n, `features`): leaky relu 0.2, no norm in the first layer."""

    def __init__(self, plan: StridedPlan) -> None:
        super().__init__()
        widths = plan.widths[::-1]
        self.levels = nn.ModuleList(
            SameConv(before, width, KERNEL, 2) for before, width in zip((plan.channels, *widths), widths, strict=False)
        )
        self.norms = nn.ModuleList(make_norm(plan.norm if index else "none", w) for index, w in enumerate(widths))
        self.features = widths[-1] * math.prod(halvings(plan.resolution, len(widths))[-1])

    def forward(self, x: Tensor) -> Tensor:
        for level, norm in zip(self.levels, self.norms, strict=True):
            x = F.leaky_relu(norm(level(x)), SLOPE)
        return x.flatten(1)
