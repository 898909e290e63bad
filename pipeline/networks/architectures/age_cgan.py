"""Age-cGAN, Antipov et al. 2017: a conditional DCGAN and an encoder, as IcGAN's code and a Keras port have them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.strided_stacks import StackPlan, UpwardStack
from pipeline.networks.layers.conv import SameConv
from pipeline.networks.layers.dropout import dropout
from pipeline.networks.layers.embedding import join, one_hot
from pipeline.networks.layers.resample import upsample_nearest

SLOPE = 0.2
KERAS_EPS, KERAS_MOMENTUM, LIVELY_MOMENTUM = 1e-3, 0.01, 0.2  # 1 − the momentum that Keras counts
KEEP = 0.8


@dataclass(frozen=True, slots=True)
class AgePlan:
    """What the three networks are built from.

    base: the smallest map (height, width). levels: halvings of the image to it. channels: of the image. classes: bands,
    0 where labels are not used. noise: of z. signed: a label is 1 for its band and −1 for the others, not 0.
    dense, generator_dense: units of the dense layer before the code, and of the Keras generator's first.
    """

    base: tuple[int, int]
    levels: int
    channels: int
    classes: int
    noise: int
    signed: bool
    generator_width: int
    discriminator_width: int
    encoder_width: int
    dense: int
    generator_dense: int

    def code(self, label: Tensor | None, like: Tensor) -> Tensor:
        """Labels (n,), or weights of classes (n, classes), as the networks are given them; (n, 0) without classes."""
        if not self.classes or label is None:
            return like.new_zeros((len(like), 0))
        found = one_hot(label, self.classes)
        return 2 * found - 1 if self.signed else found

    def downward(self, width: int) -> tuple[int, ...]:
        """Maps behind each halving."""
        return tuple(width * 2**level for level in range(self.levels))


class AgeGenerator(nn.Module):
    """Noise (n, noise) beside the label's code → (n, channels, H, W) in [−1, 1]: DCGAN's, with biases."""

    def __init__(self, plan: AgePlan) -> None:
        super().__init__()
        self.plan = plan
        widths = plan.downward(plan.generator_width)[::-1]
        self.stack = UpwardStack(StackPlan(plan.base, widths, plan.channels, bias=True), plan.noise + plan.classes)

    def forward(self, z: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        return self.stack(torch.cat([z, self.plan.code(label, z)], dim=1))


class AgeDiscriminator(nn.Module):
    """x (n, channels, H, W) and label (n,) → logits (n,); the label's code joins the first convolution's maps."""

    def __init__(self, plan: AgePlan) -> None:
        super().__init__()
        self.plan = plan
        widths = plan.downward(plan.discriminator_width)
        self.first = nn.Conv2d(plan.channels, widths[0], 4, 2, 1)
        joined = (widths[0] + plan.classes, *widths[1:])
        self.halvings = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE))
            for before, after in zip(joined[:-1], widths[1:], strict=True)
        )
        self.head = nn.Conv2d(widths[-1], 1, plan.base)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        code = self.plan.code(label, x)
        x = join(F.leaky_relu(self.first(x), SLOPE), code)
        for halve in self.halvings:
            x = halve(x)
        return self.head(x).flatten()


class AgeEncoder(nn.Module):
    """x (n, channels, H, W) → the noise (n, noise) that it was drawn from: 5/2/2 convolutions, batch norm, relu."""

    def __init__(self, plan: AgePlan) -> None:
        super().__init__()
        widths = plan.downward(plan.encoder_width)
        layers: list[nn.Module] = []
        for before, after in pairwise((plan.channels, *widths)):
            layers += [nn.Conv2d(before, after, 5, 2, 2), nn.BatchNorm2d(after), nn.ReLU()]
        units = widths[-1] * math.prod(plan.base)
        dense = [nn.Linear(units, plan.dense), nn.BatchNorm1d(plan.dense), nn.ReLU(), nn.Linear(plan.dense, plan.noise)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), *dense)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# --- the Keras port ---------------------------------------------------------------------------------


class KerasAgeGenerator(nn.Module):
    """As `AgeGenerator`, of dense layers with dropout, then maps doubled by repetition and 5×5 convolutions.

    Its smallest map is twice the base. Without a generator nothing is dropped.
    """

    def __init__(self, plan: AgePlan) -> None:
        super().__init__()
        self.plan = plan
        height, width = plan.base
        widths = plan.downward(plan.generator_width)[-2::-1]
        self.shape = (widths[0], 2 * height, 2 * width)
        units = math.prod(self.shape)
        self.first = nn.Linear(plan.noise + plan.classes, plan.generator_dense)
        self.second = nn.Linear(plan.generator_dense, units)
        self.norm = nn.BatchNorm1d(units, KERAS_EPS, KERAS_MOMENTUM)
        self.doublings = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 5, padding=2),
                nn.BatchNorm2d(after, KERAS_EPS, LIVELY_MOMENTUM),
                nn.LeakyReLU(SLOPE),
            )
            for before, after in pairwise(widths)
        )
        self.output = nn.Conv2d(widths[-1], plan.channels, 5, padding=2)

    def forward(self, z: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        x = torch.cat([z, self.plan.code(label, z)], dim=1)
        x = dropout(F.leaky_relu(self.first(x), SLOPE), KEEP, generator)
        x = dropout(F.leaky_relu(self.norm(self.second(x)), SLOPE), KEEP, generator)
        # Keras's maps are (height, width, channels): its weights' columns have to be reordered, nothing else.
        x = x.view(-1, *self.shape)
        for double in self.doublings:
            x = double(upsample_nearest(x))
        return torch.tanh(self.output(upsample_nearest(x)))


class KerasAgeDiscriminator(nn.Module):
    """As `AgeDiscriminator`, of 3×3 convolutions of stride 2 with TensorFlow's padding and a dense unit."""

    def __init__(self, plan: AgePlan) -> None:
        super().__init__()
        self.plan = plan
        widths = plan.downward(plan.discriminator_width)
        self.first = SameConv(plan.channels, widths[0], 3, 2)
        joined = (widths[0] + plan.classes, *widths[1:])
        self.halvings = nn.ModuleList(
            nn.Sequential(SameConv(before, after, 3, 2), _keras_norm(after), nn.LeakyReLU(SLOPE))
            for before, after in zip(joined[:-1], widths[1:], strict=True)
        )
        self.head = nn.Linear(widths[-1] * math.prod(plan.base), 1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        code = self.plan.code(label, x)
        x = join(F.leaky_relu(self.first(x), SLOPE), code)
        for halve in self.halvings:
            x = halve(x)
        return self.head(x.flatten(1)).flatten()


class KerasAgeEncoder(nn.Module):
    """As `AgeEncoder`, with TensorFlow's padding, leaky relu 0.2, and no norm behind the first convolution."""

    def __init__(self, plan: AgePlan) -> None:
        super().__init__()
        widths = plan.downward(plan.encoder_width)
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((plan.channels, *widths))):
            layers += [SameConv(before, after, 5, 2), *([_keras_norm(after)] if number else []), nn.LeakyReLU(SLOPE)]
        dense = nn.Linear(widths[-1] * math.prod(plan.base), plan.dense)
        norm = nn.BatchNorm1d(plan.dense, KERAS_EPS, KERAS_MOMENTUM)
        code = nn.Linear(plan.dense, plan.noise)
        self.layers = nn.Sequential(*layers, nn.Flatten(), dense, norm, nn.LeakyReLU(SLOPE), code)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _keras_norm(maps: int) -> nn.Module:
    return nn.BatchNorm2d(maps, KERAS_EPS, KERAS_MOMENTUM)
