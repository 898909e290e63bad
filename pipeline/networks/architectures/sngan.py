"""SN-GAN, Miyato et al. 2018, and SAGAN, Zhang et al. 2019: residual blocks, a discriminator with spectral norm."""

from __future__ import annotations

from collections.abc import Sequence
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
from pipeline.networks.layers.attention import SelfAttention
from pipeline.networks.layers.embedding import LabelVector
from pipeline.networks.layers.norm import ConditionalBatchNorm, LinearBatchNorm


class SpectralGenerator(ResidualGenerator):
    """Noise (n, inputs) and label (n,) → tanh output (n, channels, base·2^(widths − 1)).

    Labels, or weights of classes (n, classes), choose a `table` of gains that starts at 1, or are mapped
    `linear`ly, one-hot, to what is added to 1. The last norm knows no class.
    """

    def __init__(
        self, plan: ResidualPlan, classes: int = 0, norm: Literal["table", "linear"] = "table", eps: float = 1e-5
    ) -> None:
        def make_norm(channels: int) -> nn.Module:
            if not classes:
                return nn.BatchNorm2d(channels, eps=eps)
            if norm == "linear":
                return LinearBatchNorm(channels, classes, plan.recipe.layers, eps)
            return ConditionalBatchNorm(channels, classes, eps=eps)

        def make_blocks(before: int, width: int) -> list[nn.Module]:
            return [GeneratorBlock(before, width, plan.recipe, make_norm)]

        code = LabelVector(classes) if norm == "linear" else None
        super().__init__(plan, plan.inputs, make_blocks, nn.BatchNorm2d(plan.widths[-1], eps=eps), code)
        self.classes = classes

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.tanh(super().forward(z, label))


@dataclass(frozen=True, slots=True)
class DiscriminatorPlan:
    """widths: maps of each block; the first `halvings` blocks halve the resolution.

    attention: numbers of the blocks followed by it, from 1.
    """

    recipe: Recipe
    widths: tuple[int, ...]
    halvings: int
    channels: int
    classes: int = 0
    attention: tuple[int, ...] = ()
    head_bias: bool = True


class SpectralDiscriminator(nn.Module):
    """x (n, channels, h, w) and label (n,) → logits (n,): blocks, relu, sum over the map, one linear unit.

    Blocks that are not handed in are plain ones. With classes, the projection ⟨table(y), features⟩ is added
    (Miyato & Koyama 2018).
    """

    def __init__(self, plan: DiscriminatorPlan, blocks: Sequence[nn.Module] | None = None) -> None:
        super().__init__()
        layers, width = plan.recipe.layers, plan.widths[-1]
        self.layers = nn.ModuleList(plain_blocks(plan) if blocks is None else blocks)
        self.head = layers.linear(width, 1, plan.head_bias)
        self.projection = layers.embedding(plan.classes, width) if plan.classes else None

    def features(self, x: Tensor) -> Tensor:
        """(n, widths[-1])."""
        for layer in self.layers:
            x = layer(x)
        return F.relu(x).sum((2, 3))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        features = self.features(x)
        logits = self.head(features).flatten()
        if self.projection is not None and label is not None:
            logits = logits + (self.projection(label) * features).sum(1)
        return logits


def plain_blocks(plan: DiscriminatorPlan) -> list[nn.Module]:
    """A discriminator's blocks, each with the attention behind it."""
    found: list[nn.Module] = []
    for number, (before, width) in enumerate(pairwise((plan.channels, *plan.widths)), start=1):
        if number == 1:
            found.append(OpeningBlock(before, width, plan.recipe))
        else:
            found.append(DiscriminatorBlock(before, width, plan.recipe, number <= plan.halvings))
        if number in plan.attention:
            found.append(SelfAttention(width, plan.recipe.layers))
    return found
