"""CTGAN, Xu et al. 2019: dense layers that keep their input, and a critic of several rows at once."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dropout import dropout
from pipeline.networks.layers.table_codec import Codec


class Concatenating(nn.Module):
    """(n, inputs) → (n, width + inputs): relu(BN(Ax + b)) with x behind it."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.relu(self.norm(self.dense(x))), x], dim=1)


class TableGenerator(nn.Module):
    """Noise z (n, latent), a condition (n, asked) and uniform noise (n, width) → the row (n, width), before and after
    its activations: tanh at values, Gumbel-softmax at modes and categories.

    codec: what the numbers of a row are, for whoever encodes data or decodes samples.
    """

    def __init__(self, latent: int, widths: tuple[int, ...], codec: Codec, temperature: float) -> None:
        super().__init__()
        self.codec, self.temperature = codec, temperature
        sizes = [latent + codec.asked + sum(widths[:number]) for number in range(len(widths) + 1)]
        blocks = (Concatenating(before, width) for before, width in zip(sizes[:-1], widths, strict=True))
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(sizes[-1], codec.width)

    def forward(self, z: Tensor, condition: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.output(self.blocks(torch.cat([z, condition], dim=1)))
        return raw, self.codec.activated(raw, uniform, self.temperature)


class PackedCritic(nn.Module):
    """Packs of rows (n, inputs) → (n,); leaky relu and dropout behind every layer but the last.

    Dropout draws from the generator handed in, a mask a layer; without one nothing is dropped.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], keep: float) -> None:
        super().__init__()
        self.keep = keep
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise((inputs, *widths)))
        self.output = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        for layer in self.hidden:
            x = dropout(F.leaky_relu(layer(x), 0.2), self.keep, generator)
        return self.output(x).flatten()
