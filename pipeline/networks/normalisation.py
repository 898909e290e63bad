"""Normalisations: batch norm per class, layer norm per channel, and one call for all of them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers import BATCH_NORMS

NormName = Literal["none", "batch", "layer"]


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are looked up by label (Dumoulin et al. 2017).

    Gains start at 1 and biases at 0 for every class. x (n, c, …), label (n,) → (n, c, …).
    """

    def __init__(self, channels: int, classes: int, dimensions: int = 2) -> None:
        super().__init__()
        self.norm = BATCH_NORMS[dimensions](channels, affine=False)
        self.gain = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], *[1] * (x.dim() - 2))
        gain, bias = F.embedding(label, self.gain), F.embedding(label, self.bias)
        return self.norm(x) * gain.view(shape) + bias.view(shape)


class ChannelLayerNorm(nn.Module):
    """Layer norm over (c, …) with one gain and bias per channel, as WGAN-GP's critics have it.

    Statistics are per example, so that a gradient penalty stays per example. eps is TensorFlow's 1e-5.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


def make_norm(name: NormName, channels: int, classes: int = 0, dimensions: int = 2) -> nn.Module:
    """The named normalisation; batch norm is per class where `classes` is above 0."""
    if name == "layer":
        return ChannelLayerNorm(channels)
    if name == "none":
        return nn.Identity()
    if classes:
        return ConditionalBatchNorm(channels, classes, dimensions)
    return BATCH_NORMS[dimensions](channels)


def normalise(norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    """`norm` of x, with the label where the norm is conditional."""
    return norm(x, label) if isinstance(norm, ConditionalBatchNorm) else norm(x)
