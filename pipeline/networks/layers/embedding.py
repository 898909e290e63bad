"""Labels as vectors: one-hot codes, rows of tables, mixtures of classes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def one_hot(label: Tensor, classes: int) -> Tensor:
    """Labels (n,) as float32 (n, classes); weights of classes (n, classes) as they are."""
    return label if label.is_floating_point() else F.one_hot(label, classes).float()


def rows_of(table: Tensor, label: Tensor) -> Tensor:
    """Rows (n, width) of a table (classes, width) by label (n,), or mixed by weights (n, classes)."""
    return label @ table if label.is_floating_point() else F.embedding(label, table)


LabelCode = Literal["one_hot", "embedding"]


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
