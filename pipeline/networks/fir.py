"""Low-pass filters around strided convolutions, in plain PyTorch and so differentiable as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
