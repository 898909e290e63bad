"""R3GAN, Huang et al. 2024: grouped residual blocks without norms, learned bases, filtered transitions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.embedding import one_hot
from pipeline.networks.layers.resample import FilteredDownsample, FilteredUpsample

SLOPE = 0.2


ACTIVATION_GAIN = math.sqrt(2 / (1 + SLOPE**2))


FILTER = (1.0, 2.0, 1.0)


@torch.no_grad()
def scaled_normal(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> None:
    """N(0, gain/√fan_in); with gain 0 the layer starts as zero."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(fan_in))


def pointwise(inputs: int, outputs: int, gain: float = 1.0) -> nn.Conv2d:
    """A 1×1 convolution without bias."""
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    scaled_normal(layer, gain)
    return layer


def linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    """A linear layer without bias."""
    layer = nn.Linear(inputs, outputs, bias=False)
    scaled_normal(layer, gain)
    return layer


class BiasedActivation(nn.Module):
    """Adds a bias per channel, then leaky relu 0.2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias.view(1, -1, 1, 1), SLOPE)


class GroupedBlock(nn.Module):
    """x + W₃ a(W₂ a(W₁ x)): 1×1 up to expansion·c, 3×3 in groups, 1×1 back; W₃ starts with `last_gain`, as zero if 0.

    `depth` is the number of residual blocks of the whole network: the other two layers start with
    gain ·depth^(−1/4) (Zhang et al. 2019, Fixup, for three layers a block).
    """

    def __init__(self, channels: int, groups: int, expansion: int, depth: int, last_gain: float = 0.0) -> None:
        super().__init__()
        wide = channels * expansion
        gain = ACTIVATION_GAIN * depth**-0.25
        self.widen = pointwise(channels, wide, gain)
        self.mix = nn.Conv2d(wide, wide, 3, padding=1, groups=groups, bias=False)
        scaled_normal(self.mix, gain)
        self.narrow = pointwise(wide, channels, last_gain)
        self.first = BiasedActivation(wide)
        self.second = BiasedActivation(wide)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(self.second(self.mix(self.first(self.widen(x)))))


@dataclass(frozen=True, slots=True)
class GroupedPlan:
    """Widths, blocks and groups a stage, from the smallest map up; one doubling between stages."""

    base: tuple[int, int]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    groups: tuple[int, ...]
    channels: int
    expansion: int = 2
    last_gain: float = 0.0

    def stage(self, index: int) -> list[nn.Module]:
        """The residual blocks of one stage."""
        depth = sum(self.blocks)
        width, groups = self.widths[index], self.groups[index]
        count = self.blocks[index]
        return [GroupedBlock(width, groups, self.expansion, depth, self.last_gain) for _ in range(count)]


class GroupedGenerator(nn.Module):
    """Noise (n, inputs) → (n, channels, base·2^(stages−1)), without an output activation."""

    def __init__(self, plan: GroupedPlan, inputs: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.empty(plan.widths[0], *plan.base).normal_())
        self.linear = linear(inputs, plan.widths[0])
        layers: list[nn.Module] = [*plan.stage(0)]
        for index in range(1, len(plan.widths)):
            before, width = plan.widths[index - 1], plan.widths[index]
            # The 1×1 goes first here and last in the discriminator: both convolve at the smaller cost.
            layers += [pointwise(before, width)] if before != width else []
            layers += [FilteredUpsample(FILTER), *plan.stage(index)]
        self.layers = nn.Sequential(*layers)
        self.output = pointwise(plan.widths[-1], plan.channels)

    def forward(self, noise: Tensor) -> Tensor:
        x = self.linear(noise)[:, :, None, None] * self.basis
        return self.output(self.layers(x))


class GroupedDiscriminator(nn.Module):
    """x (n, channels, base·2^(stages−1)) → features (n, outputs); the mirror of the generator."""

    def __init__(self, plan: GroupedPlan, outputs: int) -> None:
        super().__init__()
        self.input = pointwise(plan.channels, plan.widths[-1])
        layers: list[nn.Module] = []
        for index in range(len(plan.widths) - 1, 0, -1):
            before, width = plan.widths[index], plan.widths[index - 1]
            layers += [*plan.stage(index), FilteredDownsample(FILTER)]
            layers += [pointwise(before, width)] if before != width else []
        self.layers = nn.Sequential(*layers, *plan.stage(0))
        self.basis = nn.Conv2d(plan.widths[0], plan.widths[0], plan.base, groups=plan.widths[0], bias=False)
        scaled_normal(self.basis)
        self.linear = linear(plan.widths[0], outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.basis(self.layers(self.input(x))).flatten(1))


class LabelledGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W), unbounded, or in (−1, 1) where `bounded`.

    embedding: numbers that a label becomes beside the noise.
    """

    def __init__(self, plan: GroupedPlan, latent: int, classes: int, embedding: int, bounded: bool) -> None:
        super().__init__()
        self.classes = classes
        self.bounded = bounded
        self.embedding = linear(classes, embedding) if classes else None
        self.stack = GroupedGenerator(plan, latent + (embedding if classes else 0))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is not None and label is not None:
            z = torch.cat([z, self.embedding(one_hot(label, self.classes))], dim=1)
        x = self.stack(z)
        return x.tanh() if self.bounded else x


class ProjectingDiscriminator(nn.Module):
    """x (n, C, H, W) and label (n,) → logits (n,); with labels, ⟨features, embedding⟩."""

    def __init__(self, plan: GroupedPlan, classes: int) -> None:
        super().__init__()
        self.classes = classes
        width = plan.widths[0]
        self.stack = GroupedDiscriminator(plan, width if classes else 1)
        self.embedding = linear(classes, width, 1 / math.sqrt(width)) if classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        features = self.stack(x)
        if self.embedding is not None and label is not None:
            return (features * self.embedding(one_hot(label, self.classes))).sum(1)
        return features.flatten()
