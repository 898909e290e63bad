"""LAPGAN, Denton et al. 2015: a generator of what a coarse image lacks, and a discriminator of the sum."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.architectures.gan import with_label
from pipeline.networks.blocks.perceptron import ReluPerceptron
from pipeline.networks.layers.dropout import dropout
from pipeline.networks.layers.embedding import one_hot

SMALLEST = 9  # the discriminator's two unpadded convolutions leave at least one number of such a side


class BaseGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → the smallest image (n, c, h, w), unbounded."""

    def __init__(self, latent: int, widths: tuple[int, ...], shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes
        self.stack = ReluPerceptron(latent + classes, widths, math.prod(shape))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stack(with_label(z, label, self.classes)).view(-1, *self.shape)


class BaseDiscriminator(nn.Module):
    """The smallest image (n, c, h, w) and label (n,) → logits (n,); dropout behind each hidden layer."""

    def __init__(self, size: int, widths: tuple[int, ...], classes: int, keep: float) -> None:
        super().__init__()
        self.classes = classes
        self.keep = keep
        self.stack = ReluPerceptron(size + classes, widths, 1)

    def forward(self, x: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        x = with_label(x.flatten(1), label, self.classes)
        for layer in self.stack.hidden:
            x = dropout(F.relu(layer(x)), self.keep, generator)
        return self.stack.output(x).flatten()


class ClassPlane(nn.Module):
    """A label (n,) as one map (n, 1, h, w): a linear layer on its one-hot code, relu."""

    def __init__(self, classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.classes = classes
        self.size = size
        self.linear = nn.Linear(classes, size[0] * size[1])

    def forward(self, label: Tensor) -> Tensor:
        return F.relu(self.linear(one_hot(label, self.classes))).view(-1, 1, *self.size)


class LevelGenerator(nn.Module):
    """Coarse image (n, c, h, w), noise (n, 1, h, w), label (n,) → the missing detail (n, c, h, w), unbounded.

    The first convolution reads the noise, the label's map and the image, in this order.
    """

    def __init__(self, channels: int, width: int, size: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.plane = ClassPlane(classes, size) if classes else None
        inputs = channels + 1 + (classes > 0)
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(inputs, width, 7, padding=3),
                nn.Conv2d(width, width, 7, padding=3),
                nn.Conv2d(width, channels, 5, padding=2),
            ]
        )

    def forward(self, coarse: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        x = torch.cat([noise, *_maps(self.plane, label), coarse], dim=1)
        first, second, last = self.convs
        return last(F.relu(second(F.relu(first(x)))))


class LevelDiscriminator(nn.Module):
    """Image (n, c, h, w) and label (n,) → logits (n,): sees coarse and detail as their sum."""

    def __init__(self, channels: int, width: int, size: tuple[int, int], classes: int, keep: float) -> None:
        super().__init__()
        self.plane = ClassPlane(classes, size) if classes else None
        self.keep = keep
        self.first = nn.Conv2d(channels + (classes > 0), width, 5)
        self.second = nn.Conv2d(width, width, 5, stride=2)
        left = [(side - 4 - 5) // 2 + 1 for side in size]
        self.output = nn.Linear(width * left[0] * left[1], 1)

    def forward(self, x: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(torch.cat([x, *_maps(self.plane, label)], dim=1)))))
        return self.output(dropout(x.flatten(1), self.keep, generator)).flatten()


def _maps(plane: ClassPlane | None, label: Tensor | None) -> list[Tensor]:
    return [] if plane is None or label is None else [plane(label)]
