"""InfoGAN, Chen et al. 2016: DCGAN's generator of noise and codes, a discriminator's trunk, a recogniser upon it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.dense_stacks import DenseDownward, DensePlan
from pipeline.networks.layers.embedding import LabelVector


class TrunkDiscriminator(nn.Module):
    """x (n, C, H, W) in [−1, 1] and label (n,) → (logits (n,), the trunk's features (n, dense)); sees x in [0, 1]."""

    def __init__(self, plan: DensePlan, classes: int) -> None:
        super().__init__()
        self.label = LabelVector(classes)
        self.stack = DenseDownward(plan)

    def forward(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        code = self.label(label, x)
        features = self.stack.features((x + 1) / 2, code)
        return self.stack.read(features, code), features


class Recogniser(nn.Module):
    """Features (n, inputs) → (logits (n, categories), means (n, codes)) of Q(c|x).

    For each continuous code the last layer has two numbers side by side: the mean, and a log deviation
    that the reference makes and then leaves unused.
    """

    def __init__(self, inputs: int, width: int, categories: int, codes: int, slope: float) -> None:
        super().__init__()
        self.categories = categories
        self.slope = slope
        self.hidden = nn.Linear(inputs, width)
        self.norm = nn.BatchNorm1d(width)
        self.output = nn.Linear(width, categories + 2 * codes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        out = self.output(F.leaky_relu(self.norm(self.hidden(features)), self.slope))
        return out[:, : self.categories], out[:, self.categories :: 2]
