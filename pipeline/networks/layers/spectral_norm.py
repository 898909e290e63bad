"""Spectral normalisation: layers divided by their largest singular value, iterated in `advance` alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.conv import Layers

EPS = 1e-12


def singular_pair(matrix: Tensor, u: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """One power iteration from u (rows,): v = Wᵀu/‖Wᵀu‖ (columns,), then u = Wv/‖Wv‖."""
    v = F.normalize(matrix.T @ u, dim=0, eps=eps)
    return F.normalize(matrix @ v, dim=0, eps=eps), v


class Spectral(nn.Module):
    """What the three layers share: the buffer `u` ~ N(0, 1) and W/σ (Miyato et al. 2018, algorithm 1).

    σ = uᵀWv after one iteration from the stored u; its gradient reaches W alone. A forward never
    stores: the loop calls `advance` once a phase, so that every lane sees the same W/σ. A forward is
    therefore what the references compute in evaluation mode, and k calls of `advance` are k of their
    training passes.
    """

    weight: Tensor
    u: Tensor

    def _begin(self, eps: float) -> None:
        self.eps = eps
        self.register_buffer("u", torch.randn(self.weight.shape[0]))

    @torch.no_grad()
    def advance(self) -> None:
        """One power iteration, stored."""
        u, _ = singular_pair(self.weight.flatten(1), self.u, self.eps)
        self.u.copy_(u)

    def sigma(self) -> Tensor:
        """The largest singular value as far as the stored iteration knows it: a scalar."""
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            u, v = singular_pair(matrix, self.u, self.eps)
        return u @ (matrix @ v)

    def normalised(self) -> Tensor:
        """W/σ, shaped as the weight."""
        return self.weight / self.sigma()


class SpectralConv2d(Spectral, nn.Conv2d):
    """A same-padded convolution with W/σ; W as a matrix is (outputs, inputs·k·k)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True, eps: float = EPS) -> None:
        nn.Conv2d.__init__(self, inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        self._begin(eps)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.normalised(), self.bias)


class SpectralLinear(Spectral, nn.Linear):
    """A linear layer with W/σ."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, eps: float = EPS) -> None:
        nn.Linear.__init__(self, inputs, outputs, bias)
        self._begin(eps)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.normalised(), self.bias)


class SpectralEmbedding(Spectral, nn.Embedding):
    """Labels (n,) → (n, width) of the table over its σ; u has one number a class."""

    def __init__(self, classes: int, width: int, eps: float = EPS) -> None:
        nn.Embedding.__init__(self, classes, width)
        self._begin(eps)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.normalised())


@dataclass(frozen=True, slots=True)
class SpectralLayers(Layers):
    """Layers with spectral norm; eps: of the power iteration."""

    eps: float = EPS

    def conv(self, inputs: int, outputs: int, kernel: int, bias: bool = True) -> nn.Conv2d:
        return SpectralConv2d(inputs, outputs, kernel, bias, self.eps)

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
        return SpectralLinear(inputs, outputs, bias, self.eps)

    def embedding(self, classes: int, width: int) -> nn.Embedding:
        return SpectralEmbedding(classes, width, self.eps)


def spectral_layers(network: nn.Module) -> Iterator[tuple[str, Spectral]]:
    """Every spectrally normalised layer of a network, with its name."""
    for name, module in network.named_modules():
        if isinstance(module, Spectral):
            yield name, module
