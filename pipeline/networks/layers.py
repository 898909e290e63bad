"""n-D layers by number of dimensions, and the small ones that torch lacks: maxout, counted dropout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
TRANSPOSED: dict[int, type[nn.ConvTranspose1d] | type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
BATCH_NORMS: dict[int, type[nn.BatchNorm1d] | type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


class Maxout(nn.Module):
    """The largest of `pieces` affine maps per unit (Goodfellow et al. 2013): (n, inputs) → (n, units).

    Piece p of unit u is row u·pieces + p of one linear layer.
    """

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units = units
        self.pieces = pieces
        self.linear = nn.Linear(inputs, units * pieces)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).view(x.shape[0], self.units, self.pieces).amax(dim=2)


def dropout(x: Tensor, keep: float, generator: torch.Generator | None) -> Tensor:
    """Keeps each number with probability `keep` and divides by it; without a generator, x itself.

    The mask is drawn on the CPU and moved, so that every device drops the same numbers.
    """
    if generator is None or keep >= 1:
        return x
    mask = torch.rand(x.shape, generator=generator) < keep
    return x * mask.to(x.device) / keep


def one_hot(label: Tensor, classes: int) -> Tensor:
    """Labels (n,) as float32 (n, classes); weights of classes (n, classes) as they are."""
    return label if label.is_floating_point() else F.one_hot(label, classes).float()


def rows_of(table: Tensor, label: Tensor) -> Tensor:
    """Rows (n, width) of a table (classes, width) by label (n,), or mixed by weights (n, classes)."""
    return label @ table if label.is_floating_point() else F.embedding(label, table)


def truncated_normal(z: Tensor, threshold: float) -> Tensor:
    """N(0, 1) numbers carried to N(0, 1) conditioned on |z| ≤ threshold, in their order.

    The distribution is that of drawing again what falls outside, and a number needs no second draw:
    Φ⁻¹(Φ(−t) + Φ(z)·(Φ(t) − Φ(−t))). At threshold 0 all is 0.
    """
    if threshold <= 0:
        return torch.zeros_like(z)
    edge = torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64, device=z.device))
    share = edge + torch.special.ndtr(z.double()) * (1 - 2 * edge)
    return torch.special.ndtri(share).clamp(-threshold, threshold).to(z.dtype)


def upsample_nearest(x: Tensor) -> Tensor:
    """Every position twice along each spatial axis: (n, c, …) → (n, c, 2·…)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def mean_pool(x: Tensor) -> Tensor:
    """The mean of each 2×2 cell: (n, c, h, w) → (n, c, h/2, w/2)."""
    return F.avg_pool2d(x, 2)
