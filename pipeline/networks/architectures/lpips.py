"""LPIPS, Zhang et al. 2018: how far apart two images look, by maps of a fixed network and learnt weights of these."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.networks.architectures import alexnet, vgg

EPS = 1e-10
TAPS = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
    "alexnet": alexnet.TAPS,
}
WIDTHS = {"vgg16": vgg.WIDTHS, "alexnet": alexnet.WIDTHS}
LEAST = {"vgg16": 16, "alexnet": 31}
"""Shortest sides, in pixels."""


def head_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's weights, under the public file's names."""
    return {f"lin{number}.model.1.weight": (1, width, 1, 1) for number, width in enumerate(WIDTHS[network])}


class Lpips(nn.Module):
    """Distances (n,) of images (n, 3, h, w) in [0, 1]: Σ_l mean over places of w_l · (â_l − b̂_l)² (equation 1).

    a, b: maps of a layer, normalised to length 1 over channels; w_l: one weight a channel, not negative. The published
    scaling of x in [−1, 1], (x − [−.030, −.088, −.188]) / [.458, .448, .450], is ImageNet's of x in [0, 1].

    heads: weights (channels,) of each layer, in order.
    """

    def __init__(self, network: str, seeing: nn.Module, heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.taps = TAPS[network]
        self.seeing = seeing
        self.heads = nn.ParameterList(nn.Parameter(each.flatten(), requires_grad=False) for each in heads)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        ours, theirs = self.seeing(a), self.seeing(b)
        found: list[Tensor] = []
        for tap, head in zip(self.taps, self.heads, strict=True):
            apart = (unit_length(ours[tap]) - unit_length(theirs[tap])).square()
            found.append((apart * head.view(1, -1, 1, 1)).sum(1).mean((1, 2)))
        return torch.stack(found).sum(0)


def unit_length(maps: Tensor) -> Tensor:
    """Each place's vector over channels, divided by its length."""
    return maps / (maps.square().sum(1, keepdim=True).sqrt() + EPS)
