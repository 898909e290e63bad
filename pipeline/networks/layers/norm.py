"""Normalisations: batch norm per class or by a vector, layer norm per channel, and one call for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.networks.layers.conv import Layers
from pipeline.networks.layers.dimensions import BATCH_NORMS
from pipeline.networks.layers.embedding import rows_of

NormName = Literal["none", "batch", "layer"]


class ConditionedBatchNorm(nn.Module):
    """Batch norm whose gain and bias are made from a condition: x (n, c, …), condition (n, …) → (n, c, …)."""

    norm: nn.Module

    @abstractmethod
    def affine(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and bias of each example, (n, c) each."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], *[1] * (x.dim() - 2))
        gain, bias = self.affine(condition)
        return self.norm(x) * gain.view(shape) + bias.view(shape)


class ConditionalBatchNorm(ConditionedBatchNorm):
    """Gain and bias are looked up by label (Dumoulin et al. 2017); for every class they start at 1 and 0."""

    def __init__(self, channels: int, classes: int, dimensions: int = 2, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = BATCH_NORMS[dimensions](channels, eps=eps, affine=False)
        self.gain = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))

    def affine(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return rows_of(self.gain, condition), rows_of(self.bias, condition)


class OffsetBatchNorm(ConditionedBatchNorm):
    """Gain 1 + table(y) and bias table(y) of a label, or of weights of classes: BigGAN's, where nothing is shared."""

    def __init__(self, channels: int, classes: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        self.norm = BATCH_NORMS[2](channels, eps=eps, affine=False)

    def affine(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return 1 + rows_of(self.gain.weight, condition), rows_of(self.bias.weight, condition)


class LinearBatchNorm(ConditionedBatchNorm):
    """Gain 1 + Ay and bias By of a vector y (n, inputs): a class code joined to a piece of noise.

    Brock et al. 2019, appendix B.
    """

    def __init__(self, channels: int, inputs: int, layers: Layers, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = layers.linear(inputs, channels, bias=False)
        self.bias = layers.linear(inputs, channels, bias=False)
        self.norm = BATCH_NORMS[2](channels, eps=eps, affine=False)

    def affine(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        return 1 + self.gain(condition), self.bias(condition)


class ChannelLayerNorm(nn.Module):
    """Layer norm over (c, …) with one gain and bias per channel, as WGAN-GP's critics have it.

    Statistics are per example, so that a gradient penalty stays per example. eps is TensorFlow's 1e-5.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


def make_norm(name: NormName, channels: int, classes: int = 0, dimensions: int = 2, eps: float = 1e-5) -> nn.Module:
    """The named normalisation; batch norm is per class where `classes` is above 0, and `eps` is its own."""
    if name == "layer":
        return ChannelLayerNorm(channels)
    if name == "none":
        return nn.Identity()
    if classes:
        return ConditionalBatchNorm(channels, classes, dimensions, eps)
    return BATCH_NORMS[dimensions](channels, eps=eps)


def normalise(norm: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
    """`norm` of x, with the condition where the norm takes one."""
    return norm(x, condition) if isinstance(norm, ConditionedBatchNorm) else norm(x)


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


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """x / √(mean over channels of x² + eps): each position's vector gets the norm √C (section 4.2)."""
    return x * (x.square().mean(dim=1, keepdim=True) + eps).rsqrt()


def instance_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Each map of each example to mean 0 and variance 1: (n, c, h, w) → the same."""
    x = x - x.mean(dim=(2, 3), keepdim=True)
    return x * (x.square().mean(dim=(2, 3), keepdim=True) + eps).rsqrt()
