"""SN-GAN, SAGAN and BigGAN: one generator and one critic of residual blocks from a plan each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.bottleneck import DeepCriticBlock, DeepGeneratorBlock
from pipeline.networks.blocks.residual import CriticBlock, FirstCriticBlock, GeneratorBlock, Recipe
from pipeline.networks.layers.attention import SelfAttention
from pipeline.networks.layers.embedding import LabelVector
from pipeline.networks.layers.norm import ConditionalBatchNorm, LinearBatchNorm, OffsetBatchNorm, normalise

ClassNorm = Literal["table", "offset", "linear"]


@dataclass(frozen=True, slots=True)
class GeneratorPlan:
    """base: the smallest map. widths: maps from there up, one doubling between two. inputs: of noise.

    class_norm: where labels enter batch norm: a `table` of gains that starts at 1, an `offset` table
        added to 1, or a `linear` map of a vector, one-hot or, with `shared`, of so many numbers.
    noise: what else that vector holds: nothing, a chunk of z for each block, or the whole of z.
    attention: numbers of the blocks that are followed by attention, from 1.
    depth: bottleneck blocks a resolution (BigGAN-deep); 0 = one plain block.
    """

    recipe: Recipe
    base: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    inputs: int
    classes: int = 0
    class_norm: ClassNorm = "table"
    shared: int = 0
    noise: Literal["none", "chunks", "whole"] = "none"
    attention: tuple[int, ...] = ()
    depth: int = 0
    norm_eps: float = 1e-5

    @property
    def chunk(self) -> int:
        """Numbers of z that the first layer sees, and each block where noise comes in chunks."""
        return self.inputs // len(self.widths) if self.noise == "chunks" else self.inputs


class SpectralGenerator(nn.Module):
    """Noise (n, inputs) and label (n,) → tanh output (n, channels, base·2^(widths − 1)).

    Labels may be weights of classes (n, classes): a mixture.
    """

    shared: nn.Module
    linear: nn.Module

    def __init__(self, plan: GeneratorPlan) -> None:
        super().__init__()
        self.plan = plan
        self.classes = plan.classes
        layers = plan.recipe.layers
        shared = LabelVector(plan.classes, "embedding" if plan.shared else "one_hot", plan.shared)
        self._vector = shared.width + (0 if plan.noise == "none" else plan.chunk)
        inputs = self._vector if plan.noise == "whole" else plan.chunk
        linear = layers.linear(inputs, plan.widths[0] * math.prod(plan.base))
        first = {"linear": linear, "shared": shared}
        for name in ("linear", "shared") if plan.recipe.order == "studio" else ("shared", "linear"):
            self.add_module(name, first[name])
        self.layers = nn.ModuleList()
        for number, (before, width) in enumerate(pairwise(plan.widths), start=1):
            self.layers.extend(self._blocks(before, width))
            if number in plan.attention:
                self.layers.append(SelfAttention(width, layers))
        self.norm = nn.BatchNorm2d(plan.widths[-1], eps=plan.norm_eps)
        self.output = layers.conv(plan.widths[-1], plan.channels, 3)

    def _blocks(self, before: int, width: int) -> list[nn.Module]:
        plan = self.plan
        if not plan.depth:
            return [GeneratorBlock(before, width, plan.recipe, self._norm)]
        kept = [DeepGeneratorBlock(before, before, plan.recipe, self._norm, False) for _ in range(plan.depth - 1)]
        return [*kept, DeepGeneratorBlock(before, width, plan.recipe, self._norm, True)]

    def _norm(self, channels: int) -> nn.Module:
        plan = self.plan
        if self._vector and (plan.noise != "none" or plan.class_norm == "linear"):
            return LinearBatchNorm(channels, self._vector, plan.recipe.layers, plan.norm_eps)
        if not plan.classes:
            return nn.BatchNorm2d(channels, eps=plan.norm_eps)
        if plan.class_norm == "offset":
            return OffsetBatchNorm(channels, plan.classes, plan.norm_eps)
        return ConditionalBatchNorm(channels, plan.classes, eps=plan.norm_eps)

    def _conditions(self, z: Tensor, label: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """What the first layer sees, and what each resolution's blocks are told."""
        plan, count = self.plan, len(self.plan.widths) - 1
        if plan.noise == "none":
            given = self.shared(label, z) if plan.class_norm == "linear" and plan.classes else label
            return z, [given] * count
        code = self.shared(label, z)
        if plan.noise == "whole":
            z = torch.cat([z, code], dim=1)
            return z, [z] * count
        first, *rest = z.split(plan.chunk, dim=1)
        return first, [torch.cat([code, piece], dim=1) for piece in rest]

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        first, conditions = self._conditions(z, label)
        x = self.linear(first).view(-1, self.plan.widths[0], *self.plan.base)
        told = iter(condition for condition in conditions for _ in range(max(1, self.plan.depth)))
        for layer in self.layers:
            x = layer(x) if isinstance(layer, SelfAttention) else layer(x, next(told))
        return torch.tanh(self.output(F.relu(normalise(self.norm, x, None))))


@dataclass(frozen=True, slots=True)
class CriticPlan:
    """widths: maps of each block; the first `halvings` blocks halve the resolution.

    With `depth` (BigGAN-deep) a convolution gives widths[0] and each further width is `depth` blocks,
    the first of which halves. attention: numbers of the blocks followed by it, from 1.
    """

    recipe: Recipe
    widths: tuple[int, ...]
    halvings: int
    channels: int
    classes: int = 0
    attention: tuple[int, ...] = ()
    depth: int = 0
    head_bias: bool = True


class SpectralCritic(nn.Module):
    """x (n, channels, h, w) and label (n,) → logits (n,): blocks, relu, sum over the map, one linear unit.

    With classes, the projection ⟨table(y), features⟩ is added (Miyato & Koyama 2018).
    """

    def __init__(self, plan: CriticPlan) -> None:
        super().__init__()
        recipe = plan.recipe
        self.layers = nn.ModuleList()
        widths = plan.widths
        if plan.depth:
            self.layers.append(recipe.layers.conv(plan.channels, widths[0], 3))
            steps = list(pairwise(widths))
        else:
            steps = list(pairwise((plan.channels, *widths)))
        for number, (before, width) in enumerate(steps, start=1):
            self.layers.extend(self._blocks(plan, before, width, number))
            if number in plan.attention:
                self.layers.append(SelfAttention(width, recipe.layers))
        self.head = recipe.layers.linear(widths[-1], 1, plan.head_bias)
        self.projection = recipe.layers.embedding(plan.classes, widths[-1]) if plan.classes else None

    @staticmethod
    def _blocks(plan: CriticPlan, before: int, width: int, number: int) -> list[nn.Module]:
        recipe, halves = plan.recipe, number <= plan.halvings
        if plan.depth:
            kept = [DeepCriticBlock(width, width, recipe, False) for _ in range(plan.depth - 1)]
            return [DeepCriticBlock(before, width, recipe, halves), *kept]
        if number == 1:
            return [FirstCriticBlock(before, width, recipe)]
        return [CriticBlock(before, width, recipe, halves)]

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
