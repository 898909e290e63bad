"""Abadi & Andersen 2016: a dense layer that mixes all bits, then short convolutions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.networks.layers.conv import SameConv
from pipeline.networks.layers.init import glorot

# (maps in, maps out, kernel, stride) of each convolution; all activations are sigmoids but the last, a tanh.
LAYERS: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "paper": ((1, 2, 4, 1), (2, 4, 2, 2), (4, 4, 1, 1), (4, 1, 1, 1)),
    "code": ((1, 2, 2, 2), (2, 2, 1, 1), (2, 1, 1, 1)),
}


Variant = Literal["paper", "code"]


class CipherNetwork(nn.Module):
    """Bits (n, inputs) of ±1, or what stands for them → (n, bits) in (−1, 1) (Abadi & Andersen 2016, section 2.5).

    `paper`: a sigmoid behind the dense layer, one-dimensional convolutions. `code`: the authors' program,
    whose convolutions are square on a map one column wide: half of the first one's weights meet zeros alone.
    """

    def __init__(self, inputs: int, bits: int, variant: Variant) -> None:
        super().__init__()
        self.dimensions = 1 if variant == "paper" else 2
        self.dense = nn.Linear(inputs, 2 * bits)
        self.levels = nn.ModuleList(
            SameConv(before, after, kernel, stride, self.dimensions)
            for before, after, kernel, stride in LAYERS[variant]
        )
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense(x)
        if self.dimensions == 1:
            x = torch.sigmoid(x)
        x = x.view(len(x), 1, -1, *[1] * (self.dimensions - 1))
        for level in list(self.levels)[:-1]:
            x = torch.sigmoid(level(x))
        return torch.tanh(self.levels[-1](x)).flatten(1)
