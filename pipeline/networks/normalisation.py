"""Normalisations: batch norm per class, layer norm per channel, and one call for all of them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.networks.layers import BATCH_NORMS, rows_of

NormName = Literal["none", "batch", "fused", "layer"]


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are looked up by label (Dumoulin et al. 2017).

    Gains start at 1 and biases at 0 for every class. x (n, c, …), label (n,) → (n, c, …).
    """

    def __init__(self, channels: int, classes: int, dimensions: int = 2, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = BATCH_NORMS[dimensions](channels, eps=eps, affine=False)
        self.gain = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], *[1] * (x.dim() - 2))
        gain, bias = rows_of(self.gain, label), rows_of(self.bias, label)
        return self.norm(x) * gain.view(shape) + bias.view(shape)


class FusedBatchNorm(nn.BatchNorm2d):
    """Batch norm that owns two parameters no gradient ever reaches, as TensorFlow's fused one does in WGAN-GP.

    That code hands the layer's moving statistics to the optimiser and normalises by the batch alone;
    here running statistics are buffers as everywhere, and the two stand for the reference's count and
    order of parameters: gain, bias, moving mean, moving variance.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.moving_mean = nn.Parameter(torch.zeros(channels))
        self.moving_variance = nn.Parameter(torch.ones(channels))


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
    return FusedBatchNorm(channels) if name == "fused" else BATCH_NORMS[dimensions](channels)


def normalise(norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    """`norm` of x, with the label where the norm is conditional."""
    return norm(x, label) if isinstance(norm, ConditionalBatchNorm) else norm(x)


@contextmanager
def gathered_statistics(network: nn.Module) -> Generator[None, None, None]:
    """Batch norms forget their statistics and take the plain mean over the passes made inside.

    The network is in training mode inside and in evaluation mode afterwards; no graph is kept.
    """
    norms = [module for module in network.modules() if isinstance(module, tuple(BATCH_NORMS.values()))]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    try:
        with torch.no_grad():
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()
