"""Residual blocks with norm and relu before each convolution, and a generator of them: WGAN-GP, SN-GAN, BigGAN."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.attention import SelfAttention
from pipeline.networks.layers.conv import Layers
from pipeline.networks.layers.embedding import LabelVector
from pipeline.networks.layers.norm import normalise
from pipeline.networks.layers.resample import Upsampling, mean_pool, upsample

MakeNorm = Callable[[int], nn.Module]
"""Maps → a norm of them."""
MakeBlocks = Callable[[int, int], Sequence[nn.Module]]
"""Maps below and maps of a resolution → its blocks; the last one doubles."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How blocks are made.

    bias: whether a block's first convolution has one.
    wide: a discriminator's hidden width is its outputs' (BigGAN), not its inputs' (SN-GAN).
    rectified_shortcut: a discriminator's shortcut sees relu(x) as well, which an in-place relu does in
        mimicry and StudioGAN; elsewhere it sees x.
    means_first: a halving shortcut takes means and then its 1×1 (WGAN-GP); else its 1×1 comes first.
    """

    layers: Layers
    upsampling: Upsampling = "nearest"
    bias: bool = True
    wide: bool = False
    rectified_shortcut: bool = False
    means_first: bool = False


class GeneratorBlock(nn.Module):
    """norm, relu, double, 3×3, norm, relu, 3×3, beside a doubled 1×1: (n, inputs, h, w) → (n, outputs, 2h, 2w)."""

    def __init__(self, inputs: int, outputs: int, recipe: Recipe, make_norm: MakeNorm) -> None:
        super().__init__()
        self.upsampling: Upsampling = recipe.upsampling
        self.conv1 = recipe.layers.conv(inputs, outputs, 3, recipe.bias)
        self.conv2 = recipe.layers.conv(outputs, outputs, 3)
        norms = make_norm(inputs), make_norm(outputs)
        self.shortcut = recipe.layers.conv(inputs, outputs, 1)
        # Listed last: initialisations draw in the order in which modules are listed.
        self.norm1, self.norm2 = norms

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        y = F.relu(normalise(self.norm1, x, condition))
        y = self.conv1(upsample(y, self.upsampling))
        y = self.conv2(F.relu(normalise(self.norm2, y, condition)))
        return y + self.shortcut(upsample(x, self.upsampling))


class DiscriminatorBlock(nn.Module):
    """norm, relu, 3×3, norm, relu, 3×3, 2×2 mean where it halves, beside a 1×1 where anything changes.

    (n, inputs, h, w) → (n, outputs, h, w), or half of h and w; without `make_norm` there are no norms.
    """

    def __init__(
        self, inputs: int, outputs: int, recipe: Recipe, halves: bool, make_norm: MakeNorm = nn.Identity
    ) -> None:
        super().__init__()
        self.halves = halves
        self.recipe = recipe
        hidden = outputs if recipe.wide else inputs
        self.conv1 = recipe.layers.conv(inputs, hidden, 3, recipe.bias)
        self.conv2 = recipe.layers.conv(hidden, outputs, 3)
        self.norm1 = make_norm(inputs)
        self.norm2 = make_norm(hidden)
        self.shortcut = recipe.layers.conv(inputs, outputs, 1) if halves or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        if self.recipe.rectified_shortcut:
            x = F.relu(x)
        if self.halves and self.recipe.means_first:
            x = mean_pool(x)
        if self.shortcut is not None:
            x = self.shortcut(x)
        if self.halves and not self.recipe.means_first:
            x = mean_pool(x)
        return mean_pool(y) + x if self.halves else y + x


class OpeningBlock(nn.Module):
    """A discriminator's first: 3×3, relu, 3×3, 2×2 mean beside a 1×1 of the means; no relu before pixels."""

    def __init__(self, inputs: int, outputs: int, recipe: Recipe) -> None:
        super().__init__()
        self.conv1 = recipe.layers.conv(inputs, outputs, 3)
        self.conv2 = recipe.layers.conv(outputs, outputs, 3)
        self.shortcut = recipe.layers.conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return mean_pool(self.conv2(F.relu(self.conv1(x)))) + self.shortcut(mean_pool(x))


@dataclass(frozen=True, slots=True)
class ResidualPlan:
    """base: the smallest map. widths: maps from there up, one doubling between two. inputs: numbers of noise.

    attention: numbers of the blocks (resolutions) that are followed by attention, from 1.
    """

    recipe: Recipe
    base: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    inputs: int
    attention: tuple[int, ...] = ()


class ResidualGenerator(nn.Module):
    """Noise (n, inputs) and label (n,) → the image before its activation (n, channels, base·2^(widths − 1)).

    first: numbers that the first layer reads. code: makes the norms' condition of a label; without it they
    get the label itself.
    """

    def __init__(
        self,
        plan: ResidualPlan,
        first: int,
        make_blocks: MakeBlocks,
        last_norm: nn.Module,
        code: LabelVector | None = None,
    ) -> None:
        super().__init__()
        self.shape = (plan.widths[0], *plan.base)
        layers = plan.recipe.layers
        self.shared = code
        self.linear = layers.linear(first, math.prod(self.shape))
        self.layers = nn.ModuleList()
        for number, (before, width) in enumerate(pairwise(plan.widths), start=1):
            self.layers.extend(make_blocks(before, width))
            if number in plan.attention:
                self.layers.append(SelfAttention(width, layers))
        self.norm = last_norm
        self.output = layers.outer(plan.widths[-1], plan.channels)

    def conditions(self, z: Tensor, label: Tensor | None) -> tuple[Tensor, Iterator[Tensor | None]]:
        """What the first layer reads, and the condition of each block in turn."""
        return z, repeat(label if self.shared is None or label is None else self.shared(label, z))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        first, conditions = self.conditions(z, label)
        x = self.linear(first).view(-1, *self.shape)
        for layer in self.layers:
            x = layer(x) if isinstance(layer, SelfAttention) else layer(x, next(conditions))
        return self.output(F.relu(self.norm(x)))
