"""WGAN-GP, Gulrajani et al. 2017: the residual pair, and the strided one for any height and width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.residual import (
    DiscriminatorBlock,
    GeneratorBlock,
    OpeningBlock,
    Recipe,
    ResidualGenerator,
    ResidualPlan,
)
from pipeline.networks.layers.conv import SameConv, SameTransposed, glorot_linear
from pipeline.networks.layers.dimensions import BATCH_NORMS
from pipeline.networks.layers.norm import NormName, make_norm, normalise


def residual_generator(plan: ResidualPlan, norm: NormName, classes: int = 0) -> ResidualGenerator:
    """Noise (n, inputs) → logits of the image; with classes, batch norms in blocks are per class, the last is not."""

    def make_blocks(before: int, width: int) -> list[nn.Module]:
        return [GeneratorBlock(before, width, plan.recipe, lambda channels: make_norm(norm, channels, classes))]

    return ResidualGenerator(plan, plan.inputs, make_blocks, make_norm(norm, plan.widths[-1]))


@dataclass(frozen=True, slots=True)
class CriticPlan:
    """widths: one halving each; plain: blocks after them; opening: `block` halves, `conv` does not.

    head: `mean` (relu, mean over the map) or `flat` (all of the last map, of shape `base`).
    With `conv`, widths[0] is the opening's and each further one halves.
    """

    recipe: Recipe
    base: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    plain: int = 2
    opening: Literal["block", "conv"] = "block"
    head: Literal["mean", "flat"] = "mean"
    norm: NormName = "none"


class ResidualCritic(nn.Module):
    """x (n, channels, h, w) → features (n, `features`), to be read by linear heads."""

    def __init__(self, plan: CriticPlan) -> None:
        super().__init__()
        self.head = plan.head
        recipe, first, last = plan.recipe, plan.widths[0], plan.widths[-1]
        block = plan.opening == "block"
        opening = OpeningBlock(plan.channels, first, recipe) if block else recipe.layers.outer(plan.channels, first)
        steps = [(before, width, True) for before, width in pairwise(plan.widths)] + [(last, last, False)] * plan.plain
        blocks = [
            DiscriminatorBlock(before, width, recipe, halves, lambda channels: make_norm(plan.norm, channels))
            for before, width, halves in steps
        ]
        self.layers = nn.Sequential(opening, *blocks)
        self.features = last if plan.head == "mean" else last * plan.base[0] * plan.base[1]

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return F.relu(x).mean((2, 3)) if self.head == "mean" else torch.flatten(x, 1)


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
        per_unit = plan.norm == "batch" and plan.first_norm == "unit"
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


class BoundedGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W) in [−1, 1]."""

    def __init__(self, stack: ResidualGenerator | StridedGenerator, sigmoid: bool) -> None:
        super().__init__()
        self.stack = stack
        self.scale = 0.5 if sigmoid else 1.0

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        # A sigmoid's [0, 1] carried to [−1, 1] is 2σ(a) − 1 = tanh(a/2).
        return torch.tanh(self.scale * self.stack(z, label))


class ClassifyingCritic(nn.Module):
    """x (n, C, H, W) → (scores (n,), logits of its class (n, classes) or None); `sigmoid`: it sees x in [0, 1]."""

    def __init__(self, stack: ResidualCritic | StridedCritic, classes: int, sigmoid: bool) -> None:
        super().__init__()
        self.stack = stack
        self.sigmoid = sigmoid
        self.score = glorot_linear(stack.features, 1)
        self.classifier = glorot_linear(stack.features, classes) if classes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.stack((x + 1) / 2 if self.sigmoid else x)
        logits = self.classifier(features) if self.classifier is not None else None
        return self.score(features).flatten(), logits
