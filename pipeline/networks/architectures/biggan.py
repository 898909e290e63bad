"""BigGAN and BigGAN-deep, Brock et al. 2019: SN-GAN's networks with shared class codes and noise at every block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.networks.architectures.sngan import DiscriminatorPlan
from pipeline.networks.blocks.bottleneck import DeepDiscriminatorBlock, DeepGeneratorBlock
from pipeline.networks.blocks.residual import GeneratorBlock, ResidualGenerator, ResidualPlan
from pipeline.networks.layers.attention import SelfAttention
from pipeline.networks.layers.embedding import LabelVector
from pipeline.networks.layers.norm import LinearBatchNorm, OffsetBatchNorm


@dataclass(frozen=True, slots=True)
class BigganPlan:
    """What BigGAN adds to a residual generator.

    shared: numbers of a label's code for all norms; 0: each norm has a table of its own, added to 1.
    noise: what else a norm reads: nothing, a chunk of z for each block, or the whole of z.
    depth: bottleneck blocks a resolution (BigGAN-deep); 0: one plain block.
    """

    residual: ResidualPlan
    classes: int = 0
    shared: int = 0
    noise: Literal["none", "chunks", "whole"] = "none"
    depth: int = 0
    norm_eps: float = 1e-5

    @property
    def chunk(self) -> int:
        """Numbers of z that the first layer sees, and each block where noise comes in chunks."""
        return self.residual.inputs // len(self.residual.widths) if self.noise == "chunks" else self.residual.inputs


class BigganGenerator(ResidualGenerator):
    """Noise (n, inputs) and label (n,) → tanh output (n, channels, base·2^(widths − 1)).

    Labels may be weights of classes (n, classes): a mixture. The last norm knows neither label nor noise.
    """

    def __init__(self, plan: BigganPlan) -> None:
        code = LabelVector(plan.classes, "embedding" if plan.shared else "one_hot", plan.shared)
        vector = code.width + (0 if plan.noise == "none" else plan.chunk)
        recipe, eps = plan.residual.recipe, plan.norm_eps

        def make_norm(channels: int) -> nn.Module:
            if plan.noise != "none" or (plan.classes and plan.shared):
                return LinearBatchNorm(channels, vector, recipe.layers, eps)
            return OffsetBatchNorm(channels, plan.classes, eps) if plan.classes else nn.BatchNorm2d(channels, eps=eps)

        def make_blocks(before: int, width: int) -> list[nn.Module]:
            if not plan.depth:
                return [GeneratorBlock(before, width, recipe, make_norm)]
            kept = [DeepGeneratorBlock(before, before, recipe, make_norm, False) for _ in range(plan.depth - 1)]
            return [*kept, DeepGeneratorBlock(before, width, recipe, make_norm, True)]

        first = vector if plan.noise == "whole" else plan.chunk
        last_norm = nn.BatchNorm2d(plan.residual.widths[-1], eps=eps)
        super().__init__(plan.residual, first, make_blocks, last_norm, code)
        self.plan = plan
        self.classes = plan.classes

    def conditions(self, z: Tensor, label: Tensor | None) -> tuple[Tensor, Iterator[Tensor | None]]:
        plan = self.plan
        assert self.shared is not None
        code = self.shared(label, z)
        if plan.noise == "none":
            return z, repeat(code if plan.classes and plan.shared else label)
        if plan.noise == "whole":
            z = torch.cat([z, code], dim=1)
            return z, repeat(z)
        first, *rest = z.split(plan.chunk, dim=1)
        return first, (torch.cat([code, piece], dim=1) for piece in rest for _ in range(max(1, plan.depth)))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.tanh(super().forward(z, label))


def deep_blocks(plan: DiscriminatorPlan, depth: int) -> list[nn.Module]:
    """BigGAN-deep's: a convolution gives widths[0]; each further width has `depth` blocks, and the first one halves."""
    recipe = plan.recipe
    found: list[nn.Module] = [recipe.layers.outer(plan.channels, plan.widths[0])]
    for number, (before, width) in enumerate(pairwise(plan.widths), start=1):
        kept = [DeepDiscriminatorBlock(width, width, recipe, False) for _ in range(depth - 1)]
        found += [DeepDiscriminatorBlock(before, width, recipe, number <= plan.halvings), *kept]
        if number in plan.attention:
            found.append(SelfAttention(width, recipe.layers))
    return found
