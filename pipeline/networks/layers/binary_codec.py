"""Rows of x as medGAN's networks see them: 0 and 1 for categories, whole numbers for counts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pipeline.types import Column


@dataclass(frozen=True)
class BinaryCodec:
    """One number for a column of two categories, one a category for more, and one for a count."""

    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """Numbers in an encoded row."""
        return sum(_width(column) for column in self.columns)

    @property
    def counts_alone(self) -> bool:
        """Whether no column has categories."""
        return not any(column.categories for column in self.columns)

    def is_count(self, like: Tensor) -> Tensor:
        """Which numbers of an encoded row are counts, (width,) on the device of `like`."""
        held = [not column.categories for column in self.columns for _ in range(_width(column))]
        return torch.tensor(held, device=like.device)

    def encoded(self, x: Tensor) -> Tensor:
        """x (n, F) → (n, width), counts as they are in the table."""
        parts: list[Tensor] = []
        places = accumulate((column.width for column in self.columns), initial=0)
        for column, place in zip(self.columns, places, strict=False):
            if not column.categories:
                parts.append(x[:, place : place + 1] * column.std + column.mean)
            elif len(column.categories) == 2:
                parts.append(x[:, place + 1 : place + 2])
            else:
                parts.append(x[:, place : place + column.width])
        return torch.cat(parts, 1)

    def rows(self, encoded: Tensor) -> Tensor:
        """(n, width) → x (n, F): of categories the likeliest, of counts the nearest whole number."""
        parts: list[Tensor] = []
        place = 0
        for column in self.columns:
            mine = encoded[:, place : place + _width(column)]
            place += _width(column)
            if not column.categories:
                parts.append((mine.round() - column.mean) / column.std)
            elif len(column.categories) == 2:
                parts.append(torch.cat([1 - mine, mine], 1).round())
            else:
                largest = mine.argmax(1, keepdim=True)
                parts.append(torch.zeros_like(mine).scatter(1, largest, 1.0))
        return torch.cat(parts, 1)


def _width(column: Column) -> int:
    return 1 if len(column.categories) == 2 else len(column.categories) or 1
