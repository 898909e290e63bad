"""What the augmentations share: draws per example, affine matrices, resampling that can be differentiated twice."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# --- draws ------------------------------------------------------------------------------------


def chosen(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Booleans (count,), each true with this probability; above 1 is always."""
    return torch.rand(count, generator=generator) < probability


# --- affine matrices (n, k, k), homogeneous coordinates ---------------------------------------


def identity(count: int, size: int) -> Tensor:
    """`count` unit matrices."""
    return torch.eye(size).repeat(count, 1, 1)


def translation(*offsets: Tensor) -> Tensor:
    """Moves by `offsets`, one tensor (n,) an axis."""
    matrix = identity(offsets[0].shape[0], len(offsets) + 1)
    matrix[:, :-1, -1] = torch.stack(offsets, dim=1)
    return matrix


def scaling(*factors: Tensor) -> Tensor:
    """Multiplies each axis by its factors (n,)."""
    return torch.diag_embed(torch.stack([*factors, torch.ones_like(factors[0])], dim=1))


def rotation(angle: Tensor) -> Tensor:
    """Turns the plane by `angle` (n,) in radians."""
    matrix = identity(angle.shape[0], 3)
    cosine, sine = angle.cos(), angle.sin()
    matrix[:, 0, 0], matrix[:, 0, 1] = cosine, -sine
    matrix[:, 1, 0], matrix[:, 1, 1] = sine, cosine
    return matrix


# --- resampling -------------------------------------------------------------------------------


class _Sampled(torch.autograd.Function):
    """Bilinear values of x at grid's places, zero outside: linear in x, whose adjoint is `_Spread`.

    torch's own backward of grid_sample has no derivative, and penalties on gradients need one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(grid)
        ctx.shape = x.shape
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradient, grid, ctx.shape), None


class _Spread(torch.autograd.Function):
    """The adjoint of `_Sampled`: every value goes to the four places it would be read from."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size
    ) -> Tensor:
        ctx.save_for_backward(grid)
        like = gradient.new_zeros(shape)
        # Bilinear is 0, zeros is 0; the gradient by the grid is not asked for.
        found = torch.ops.aten.grid_sampler_2d_backward(gradient, like, grid, 0, 0, False, (True, False))
        return found[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grid,) = ctx.saved_tensors
        return _Sampled.apply(gradient, grid), None, None


def sample_at(x: Tensor, grid: Tensor) -> Tensor:
    """x (n, c, h, w) at grid (n, H, W, 2) in [-1, 1] → (n, c, H, W); differentiable in x, twice and more."""
    return _Sampled.apply(x, grid)


def filtered_up(x: Tensor, taps: Tensor) -> Tensor:
    """Twice as large: zeros between, then the even filter `taps` (sum 1) along each axis, gain 2 an axis."""
    length, channels = taps.shape[0], x.shape[1]
    # Transposed convolution is zero-insertion and true convolution; the crop centres it on the old pixels.
    before = length // 2 - 1
    for shape, stride, padding in (((length, 1), (2, 1), (before, 0)), ((1, length), (1, 2), (0, before))):
        kernel = (2 * taps).view(1, 1, *shape).expand(channels, -1, -1, -1)
        x = F.conv_transpose2d(x, kernel, stride=stride, padding=padding, groups=channels)
    return x


def filtered_down(x: Tensor, taps: Tensor, crop: int) -> Tensor:
    """The adjoint of `filtered_up` over 4, after `crop` pixels are cut off every side: half as large."""
    length, channels = taps.shape[0], x.shape[1]
    padding = length // 2 - 1 - crop
    x = F.pad(x, (padding,) * 4)
    for shape, stride in (((length, 1), (2, 1)), ((1, length), (1, 2))):
        x = F.conv2d(x, taps.view(1, 1, *shape).expand(channels, -1, -1, -1), stride=stride, groups=channels)
    return x
