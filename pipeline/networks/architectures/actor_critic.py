"""Pfau & Vinyals 2016: discriminator and critic of one shape, since either answers for an image with one number."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class RewardModel(nn.Module):
    """Images (n, C, H, W) → one number each (n,): dense layers with leaky relu."""

    def __init__(self, size: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise((size, *widths)))
        self.output = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.hidden:
            x = F.leaky_relu(layer(x), 0.2)
        return self.output(x).flatten()
