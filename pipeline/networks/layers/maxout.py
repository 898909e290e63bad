"""Maxout (Goodfellow et al. 2013)."""

from __future__ import annotations

from torch import Tensor, nn


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
