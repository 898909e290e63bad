"""Resampling by two with a low-pass filter, as StyleGAN2 and R3GAN do it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def widen(weights: Sequence[float]) -> list[float]:
    """`weights` convolved with [1, 1]: [1, 2, 1] becomes [1, 3, 3, 1], centred between positions."""
    return [left + right for left, right in pairwise([0.0, *weights, 0.0])]


class _Filtered(nn.Module):
    """Holds the separable kernel (k, k), normalised to sum 1; k must be even."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        line = torch.tensor(widen(weights))
        if len(line) % 2:
            raise ValueError("resampling by two needs an even filter: give an odd number of weights")
        kernel = torch.outer(line, line)
        self.kernel: Tensor
        self.register_buffer("kernel", kernel / kernel.sum())
        self.padding = len(line) // 2 - 1

    def _depthwise(self, x: Tensor) -> Tensor:
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class FilteredUpsample(_Filtered):
    """(n, c, h, w) → (n, c, 2h, 2w): zeros between, then the filter, gain 4 for the zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, 4 * self._depthwise(x), stride=2, padding=self.padding, groups=x.shape[1])


class FilteredDownsample(_Filtered):
    """(n, c, h, w) → (n, c, h/2, w/2): the filter at every second position."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self._depthwise(x), stride=2, padding=self.padding, groups=x.shape[1])
