"""What a discriminator sees of the other examples of its batch: their deviation, or learned distances."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MinibatchName = Literal["deviation", "discrimination", "none"]


def group_size(count: int, wanted: int) -> int:
    """The largest group of at most `wanted` that divides a batch of `count`."""
    return max(size for size in range(1, min(count, wanted) + 1) if count % size == 0)


class MinibatchDeviation(nn.Module):
    """Appends `features` maps of standard deviation over groups: (n, c, h, w) → (n, c + features, h, w).

    Karras et al. 2018, section 3. Examples i, i + n/g, i + 2n/g, … form a group of g: the group is the
    *first* axis of the reshaped batch. Biased variance, eps 1e-8 inside the root. Groups lie within
    a lane; where `group` does not divide it, the largest smaller group that does.
    """

    def __init__(self, group: int = 4, features: int = 1) -> None:
        super().__init__()
        self.group = group
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        group = group_size(count, self.group)
        y = x.reshape(group, -1, self.features, channels // self.features, height, width)
        y = (y - y.mean(dim=0)).square().mean(dim=0)
        y = (y + 1e-8).sqrt().mean(dim=(2, 3, 4))
        y = y.reshape(-1, self.features, 1, 1).repeat(group, 1, height, width)
        return torch.cat([x, y], dim=1)


class MinibatchDiscrimination(nn.Module):
    """Appends closeness to the rest of the batch: (n, inputs) → (n, inputs + outputs).

    Salimans et al. 2016, section 3.2: o(xᵢ)_b = Σ_{j≠i} exp(−‖M_{i,b} − M_{j,b}‖₁) with M = x·T. The batch
    is the lane. The reference's initial scale: columns of T of norm 1.
    """

    def __init__(self, inputs: int, outputs: int = 32, depth: int = 5) -> None:
        super().__init__()
        self.outputs = outputs
        self.depth = depth
        # The columns of T are the rows of this weight.
        self.weight = nn.Parameter(F.normalize(torch.randn(outputs * depth, inputs), dim=1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[0]
        m = F.linear(x, self.weight).view(count, self.outputs, self.depth)
        distance = (m[:, None] - m[None]).abs().sum(dim=3)
        # exp(−0) of an example with itself is 1, and is no neighbour.
        closeness = torch.exp(-distance).sum(dim=1) - 1 + self.bias
        return torch.cat([x, closeness], dim=1)
