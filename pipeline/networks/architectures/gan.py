"""GAN, Goodfellow et al. 2014: a relu perceptron against one of maxout units with dropout."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.networks.blocks.perceptron import MaxoutPerceptron, ReluPerceptron
from pipeline.networks.layers import init
from pipeline.networks.layers.embedding import one_hot


class PerceptronGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W) in [−1, 1].

    The paper's images are σ(a) in [0, 1]; carried to [−1, 1], that is tanh(a/2). scale: of the noise. bound:
    weights start uniform in ±this; bias: at which the output's start.
    """

    def __init__(
        self,
        latent: int,
        widths: tuple[int, ...],
        shape: tuple[int, ...],
        classes: int,
        scale: float,
        bound: float,
        bias: float,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes
        self.scale = scale
        self.stack = ReluPerceptron(latent + classes, widths, math.prod(shape))
        init.uniform(bound, self.stack)
        nn.init.constant_(self.stack.output.bias, bias)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        inputs = with_label(z * self.scale, label, self.classes)
        return torch.tanh(0.5 * self.stack(inputs)).view(-1, *self.shape)


class MaxoutDiscriminator(nn.Module):
    """x (n, C, H, W) in [−1, 1] and label (n,) → logits (n,); sees x in [0, 1]. bound: weights start within ±this."""

    def __init__(
        self, size: int, units: tuple[int, ...], pieces: int, classes: int, keep: tuple[float, float], bound: float
    ) -> None:
        super().__init__()
        self.classes = classes
        self.stack = MaxoutPerceptron(size + classes, units, pieces, *keep)
        init.uniform(bound, self.stack)

    def forward(self, x: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        return self.stack(with_label((x.flatten(1) + 1) / 2, label, self.classes), generator)


def with_label(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """x (n, k) with the label's one-hot code behind it: (n, k + classes); without label or classes, x."""
    return x if label is None or not classes else torch.cat([x, one_hot(label, classes)], dim=1)
