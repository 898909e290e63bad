"""Resampling by two: by repetition and means, bilinear, and with low-pass filters around strided convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def upsample_nearest(x: Tensor) -> Tensor:
    """Every position twice along each spatial axis: (n, c, …) → (n, c, 2·…)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def mean_pool(x: Tensor) -> Tensor:
    """The mean of each 2×2 cell: (n, c, h, w) → (n, c, h/2, w/2)."""
    return F.avg_pool2d(x, 2)


Upsampling = Literal["nearest", "bilinear"]


def upsample(x: Tensor, how: Upsampling) -> Tensor:
    """(n, c, h, w) → (n, c, 2h, 2w)."""
    if how == "bilinear":
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return upsample_nearest(x)


def enlarge(x: Tensor, levels: int) -> Tensor:
    """Every position 2^levels times along each axis."""
    return F.interpolate(x, scale_factor=float(2**levels), mode="nearest") if levels else x


def shrink(x: Tensor, levels: int) -> Tensor:
    """The mean of each cell of 2^levels squared."""
    return F.avg_pool2d(x, 2**levels) if levels else x


def coarser(x: Tensor) -> Tensor:
    """Half the sides, (n, c, h, w) → (n, c, h/2, w/2): bilinear, which is the mean of each 2×2."""
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)


def finer(x: Tensor) -> Tensor:
    """Twice the sides, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


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


class Blur(nn.Module):
    """A separable filter, normalised to sum `gain`, over every channel by itself.

    (n, c, h, w) → (n, c, h + before + after − taps + 1, …); padding is with zeros. The filters in use
    are symmetric, so that convolution and correlation are one.
    """

    def __init__(self, weights: Sequence[float], before: int, after: int, gain: float = 1.0) -> None:
        super().__init__()
        line = torch.tensor(list(weights), dtype=torch.float32)
        kernel = torch.outer(line, line)
        self.kernel: Tensor
        self.register_buffer("kernel", kernel * (gain / kernel.sum()))
        self.padding = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        before, after = self.padding[:2]
        if before == after:
            return F.conv2d(x, kernel, padding=before, groups=x.shape[1])
        return F.conv2d(F.pad(x, self.padding), kernel, groups=x.shape[1])


class UpConvolution(nn.Module):
    """A k×k transposed convolution of stride 2, then the filter at gain 4: (n, i, h, w) → (n, o, 2h, 2w).

    Karras et al. 2020, section 2 (“lazy” order of the reference): zeros between, weights, low-pass. The
    weight (o, i, k, k) comes from outside; k must be odd, the filter has four taps.
    """

    def __init__(self, weights: Sequence[float], kernel: int) -> None:
        super().__init__()
        # Zero-insertion and k//2 padding make 2h + k − 2; the filter's taps and these margins make it 2h.
        taps, padding = len(weights), kernel // 2
        before = padding + (taps + 1) // 2 - (kernel - 1)
        after = padding + (taps - 2) // 2 - (kernel - 2)
        self.blur = Blur(weights, before, after, gain=4.0)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))


class DownConvolution(nn.Module):
    """The filter, then a k×k convolution of stride 2: (n, i, h, w) → (n, o, h/2, w/2)."""

    def __init__(self, weights: Sequence[float], kernel: int) -> None:
        super().__init__()
        taps, padding = len(weights), kernel // 2
        self.blur = Blur(weights, padding + (taps - 1) // 2, padding + (taps - 2) // 2)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(self.blur(x), weight, stride=2)


class _Between(nn.Module):
    """Holds the kernel of a separable filter (k, k), whose sum is `gain`."""

    def __init__(self, weights: Sequence[float], gain: float = 1.0) -> None:
        super().__init__()
        line = torch.tensor(list(weights), dtype=torch.float32)
        kernel = torch.outer(line, line)
        self.kernel: Tensor
        self.register_buffer("kernel", kernel * (gain / kernel.sum()))

    def _depthwise(self, x: Tensor) -> Tensor:
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class MirroredDownsample(_Between):
    """(n, c, h, w) → (n, c, ⌈h/2⌉, ⌈w/2⌉): [1, 2, 1] at every second position, margins mirrored (Zhang 2019)."""

    def __init__(self) -> None:
        super().__init__((1.0, 2.0, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self._depthwise(x), stride=2, groups=x.shape[1])


class RepeatedUpsample(_Between):
    """(n, c, h, w) → (n, c, 2h, 2w): zeros between, then [1, 3, 3, 1] at gain 4, margins repeated."""

    def __init__(self) -> None:
        super().__init__((1.0, 3.0, 3.0, 1.0), gain=4.0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv_transpose2d(x, self._depthwise(x), stride=2, padding=2, groups=x.shape[1])[:, :, 1:-1, 1:-1]
