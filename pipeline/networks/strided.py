"""WGAN-GP's plain pair: 5×5 convolutions of stride 2 padded as SAME, for any height and width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers import BATCH_NORMS
from pipeline.networks.normalisation import NormName, make_norm, normalise
from pipeline.networks.residual import glorot_linear
from pipeline.networks.same import SameConv, SameTransposed

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
