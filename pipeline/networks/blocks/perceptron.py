"""Perceptrons of relu and of maxout units."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dropout import dropout
from pipeline.networks.layers.maxout import Maxout


class ReluPerceptron(nn.Module):
    """(n, inputs) → (n, outputs): relu after every layer but the last."""

    def __init__(self, inputs: int, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        sizes = (inputs, *widths)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.output(x)


class MaxoutPerceptron(nn.Module):
    """(n, inputs) → logits (n,): maxout layers, dropout before every layer.

    Dropout draws from the generator handed in, one mask a layer; without one nothing is dropped.
    """

    def __init__(self, inputs: int, units: tuple[int, ...], pieces: int, keep_input: float, keep_hidden: float) -> None:
        super().__init__()
        sizes = (inputs, *units)
        self.keeps = (keep_input, *[keep_hidden] * len(units))
        self.hidden = nn.ModuleList(Maxout(before, after, pieces) for before, after in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], 1)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        for layer, keep in zip((*self.hidden, self.output), self.keeps, strict=True):
            x = layer(dropout(x, keep, generator))
        return x.flatten()
