"""DCGAN, Radford et al. 2016: networks of strided stacks as PyTorch's example, the authors and StudioGAN have them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.dense_stacks import DenseDownward, DensePlan, DenseUpward
from pipeline.networks.blocks.strided_stacks import UpwardStack
from pipeline.networks.layers.embedding import LabelVector, rows_of

SLOPE = 0.1


EPS = 1e-4


@dataclass(frozen=True, slots=True)
class PairedPlan:
    """base: the smallest map. upward: the generator's maps from there up, one doubling between two.

    downward: the discriminator's maps, one halving each; `deepest` is one convolution more. classes: above 0,
    the discriminator adds a projection.
    """

    base: tuple[int, int]
    upward: tuple[int, ...]
    downward: tuple[int, ...]
    deepest: int
    channels: int
    classes: int = 0


class PairedGenerator(nn.Module):
    """Noise (n, inputs) → tanh output (n, channels, base·2^(upward − 1)); the dense layer has no activation."""

    def __init__(self, plan: PairedPlan, inputs: int) -> None:
        super().__init__()
        self.shape = (plan.upward[0], *plan.base)
        self.linear = nn.Linear(inputs, math.prod(self.shape))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(before, width, 4, 2, 1), nn.BatchNorm2d(width, eps=EPS), nn.ReLU())
            for before, width in pairwise(plan.upward)
        )
        self.output = nn.Conv2d(plan.upward[-1], plan.channels, 3, padding=1)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.linear(noise).view(-1, *self.shape)
        for block in self.blocks:
            x = block(x)
        return torch.tanh(self.output(x))


class PairedBlock(nn.Module):
    """3×3 then 4×4 of stride 2, batch norm and leaky relu 0.1 behind each; both norms are listed last."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.keep = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.halve = nn.Conv2d(outputs, outputs, 4, 2, 1)
        self.norm1 = nn.BatchNorm2d(outputs, eps=EPS)
        self.norm2 = nn.BatchNorm2d(outputs, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm1(self.keep(x)), SLOPE)
        return F.leaky_relu(self.norm2(self.halve(x)), SLOPE)


class PairedDiscriminator(nn.Module):
    """x (n, channels, h, w) and label (n,) → logits (n,): the sum over the last map, one linear unit."""

    def __init__(self, plan: PairedPlan) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            PairedBlock(before, width) for before, width in pairwise((plan.channels, *plan.downward))
        )
        self.conv = nn.Conv2d(plan.downward[-1], plan.deepest, 3, padding=1)
        self.norm = nn.BatchNorm2d(plan.deepest, eps=EPS)
        self.head = nn.Linear(plan.deepest, 1)
        self.projection = nn.Embedding(plan.classes, plan.deepest) if plan.classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x)
        features = F.leaky_relu(self.norm(self.conv(x)), SLOPE).sum((2, 3))
        logits = self.head(features).flatten()
        if self.projection is not None and label is not None:
            logits = logits + (self.projection(label) * features).sum(1)
        return logits


class StackGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W) in [−1, 1].

    embedding: numbers that a label becomes beside the noise; at 0 the stack takes labels, or nothing does.
    """

    def __init__(self, stack: UpwardStack | DenseUpward | PairedGenerator, classes: int, embedding: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding) if classes and embedding else None
        self.stack = stack

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is not None and label is not None:
            z = torch.cat([z, rows_of(self.embedding.weight, label)], dim=1)
        if isinstance(self.stack, DenseUpward):
            return torch.tanh(self.stack(z, z[:, :0]))
        return self.stack(z, label)


class CodedGenerator(nn.Module):
    """Noise, or noise and codes (n, inputs), and label (n,) → (n, C, H, W): σ(a) of [0, 1] carried to [−1, 1]."""

    def __init__(self, plan: DensePlan, inputs: int, label: LabelVector) -> None:
        super().__init__()
        self.label = label
        self.stack = DenseUpward(plan, inputs)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.tanh(0.5 * self.stack(z, self.label(label, z)))


class CodedDiscriminator(nn.Module):
    """x (n, C, H, W) and label (n,) → logits (n,); the label's code stands beside every layer's input.

    unit: the stack sees x in [0, 1].
    """

    def __init__(self, plan: DensePlan, label: LabelVector, unit: bool = False) -> None:
        super().__init__()
        self.label = label
        self.stack = DenseDownward(plan)
        self.unit = unit

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stack((x + 1) / 2 if self.unit else x, self.label(label, x))
