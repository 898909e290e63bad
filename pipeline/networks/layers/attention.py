"""Self-attention over the positions of a map, as SAGAN and BigGAN have it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.conv import Layers


class SelfAttention(nn.Module):
    """x + γ·o(softmax(θ(x)ᵀφ(x))·g(x)), γ starting at 0 (Zhang et al. 2019): (n, c, h, w) → the same.

    φ and g are read at 2×2 maxima, a quarter of the positions. θ and φ have c/8 maps and g c/2, at
    least one each.
    """

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.theta = layers.conv(channels, narrow, 1, bias=False)
        self.phi = layers.conv(channels, narrow, 1, bias=False)
        self.g = layers.conv(channels, half, 1, bias=False)
        self.o = layers.conv(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x).flatten(2)
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)
        g = F.max_pool2d(self.g(x), 2).flatten(2)
        weights = torch.softmax(theta.transpose(1, 2) @ phi, dim=-1)
        seen = (g @ weights.transpose(1, 2)).view(x.shape[0], -1, *x.shape[2:])
        return self.gamma * self.o(seen) + x
