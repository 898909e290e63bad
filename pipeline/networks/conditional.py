"""Where a condition enters: batch norms whose gain and bias are made from it, and codes of labels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.networks.layers import BATCH_NORMS, one_hot, rows_of
from pipeline.networks.spectral import Layers

LabelCode = Literal["one_hot", "embedding"]


class OffsetBatchNorm(nn.Module):
    """Batch norm with gain 1 + table(y) and bias table(y): per class, starting near 1 and 0.

    x (n, c, h, w), label (n,) or weights of classes (n, classes) → (n, c, h, w). BigGAN's, where nothing
    is shared.
    """

    def __init__(self, channels: int, classes: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        self.norm = BATCH_NORMS[2](channels, eps=eps, affine=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = rows_of(self.gain.weight, condition), rows_of(self.bias.weight, condition)
        return self.norm(x) * (1 + gain)[:, :, None, None] + bias[:, :, None, None]


class LinearBatchNorm(nn.Module):
    """Batch norm with gain 1 + Ay and bias By of a vector y: a class code joined to a piece of noise.

    x (n, c, h, w), y (n, inputs) → (n, c, h, w) (Brock et al. 2019, appendix B).
    """

    def __init__(self, channels: int, inputs: int, layers: Layers, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = layers.linear(inputs, channels, bias=False)
        self.bias = layers.linear(inputs, channels, bias=False)
        self.norm = BATCH_NORMS[2](channels, eps=eps, affine=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = self.gain(condition), self.bias(condition)
        return self.norm(x) * (1 + gain)[:, :, None, None] + bias[:, :, None, None]


class LabelVector(nn.Module):
    """Labels (n,) → (n, width): one-hot, or rows of a table; without classes, (n, 0).

    A float (n, classes) in place of labels mixes classes by those weights.
    """

    def __init__(self, classes: int, code: LabelCode = "one_hot", embedding: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.width = 0 if not classes else classes if code == "one_hot" else embedding
        self.table = nn.Embedding(classes, embedding) if classes and code == "embedding" else None

    def forward(self, label: Tensor | None, like: Tensor) -> Tensor:
        if not self.classes or label is None:
            return like.new_zeros((like.shape[0], 0))
        return one_hot(label, self.classes) if self.table is None else rows_of(self.table.weight, label)


def join(x: Tensor, vector: Tensor) -> Tensor:
    """`vector` (n, k) behind x (n, c, …): along its features, or as k constant maps."""
    if not vector.shape[1]:
        return x
    planes = vector.view(*vector.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
    return torch.cat([x, planes.to(x.dtype)], dim=1)
