"""ADA's transforms as random matrices: where each pixel comes from, and what becomes of its colour."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.augmentation._shared import (
    chosen,
    filtered_down,
    filtered_up,
    identity,
    rotation,
    sample_at,
    scaling,
    translation,
)

# Daubechies' least asymmetric wavelet with 6 vanishing moments (“sym6”), its low-pass: sum √2, squares 1.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
MARGIN = len(SYM6) // 4


# --- geometry ---------------------------------------------------------------------------------


def blits(count: int, size: tuple[int, int], p: float, generator: torch.Generator) -> Tensor:
    """Mirror, quarter turns and whole-pixel shifts within ±⅛: output place → input place (n, 3, 3)."""
    height, width = size
    one = torch.ones(count)
    mirrored = chosen(count, p, generator) & (torch.rand(count, generator=generator) < 0.5)
    matrix = scaling(torch.where(mirrored, -one, one), one)
    turns = torch.randint(0, 4, (count,), generator=generator) * chosen(count, p, generator)
    matrix = matrix @ rotation(math.pi / 2 * turns)
    shift = (torch.rand((2, count), generator=generator) * 2 - 1) * 0.125 * chosen(count, p, generator)
    return matrix @ translation(-(shift[0] * width).round(), -(shift[1] * height).round())


def warps(count: int, size: tuple[int, int], p: float, generator: torch.Generator) -> Tensor:
    """Scale, rotation, anisotropy between two rotations, fractional shift: (n, 3, 3), output → input.

    Scales are 2^N(0, 0.2), shifts N(0, ⅛) of the side. Each rotation comes with 1 − √(1 − p), so that
    both together come with p.
    """
    height, width = size

    def factor() -> Tensor:
        drawn = torch.exp2(torch.randn(count, generator=generator) * 0.2)
        return torch.where(chosen(count, p, generator), drawn, torch.ones(count))

    def turn() -> Tensor:
        drawn = (torch.rand(count, generator=generator) * 2 - 1) * math.pi
        return rotation(drawn * chosen(count, 1 - math.sqrt(1 - min(p, 1.0)), generator))

    scale = factor()
    matrix = scaling(1 / scale, 1 / scale) @ turn()
    stretch = factor()
    matrix = matrix @ scaling(1 / stretch, stretch) @ turn()
    shift = torch.randn((2, count), generator=generator) * 0.125 * chosen(count, p, generator)
    return matrix @ translation(-shift[0] * width, -shift[1] * height)


def warp(x: Tensor, matrix: Tensor) -> Tensor:
    """x (n, c, h, w) with the value at each pixel taken from matrix (n, 3, 3) · its place.

    Places are in pixels from the centre. Borders are reflected as far as any image of the batch
    reaches. Resampled at twice the resolution between two sym6 low-passes (Karras et al. 2020b,
    appendix B).
    """
    count, _, height, width = x.shape
    left, top, right, bottom = _margins(matrix, height, width)
    taps = torch.tensor(SYM6, dtype=x.dtype, device=x.device) / sum(SYM6)
    wide = filtered_up(F.pad(x, (left, right, top, bottom), mode="reflect"), taps)
    # Places relative to the padded centre, then in half pixels; of those, sym6 (whose mass is at tap 5.1, not
    # at the middle of its twelve) leaves the image nearly a half behind, and the transform turns about that.
    both = torch.ones(count)
    matrix = translation(both * (left - right) / 2, both * (top - bottom) / 2) @ matrix
    matrix = scaling(2 * both, 2 * both) @ matrix @ scaling(both / 2, both / 2)
    half = translation(-both / 2, -both / 2)
    matrix = half @ matrix @ translation(both / 2, both / 2)
    out_height, out_width = 2 * (height + 2 * MARGIN), 2 * (width + 2 * MARGIN)
    to_unit = scaling(both * 2 / wide.shape[3], both * 2 / wide.shape[2])
    matrix = to_unit @ matrix @ scaling(both * out_width / 2, both * out_height / 2)
    grid = F.affine_grid(matrix[:, :2], [count, 1, out_height, out_width], align_corners=False)
    return filtered_down(sample_at(wide, grid.to(x)), taps, crop=2 * MARGIN)


def _margins(matrix: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    """Pixels to reflect on each side: left, top, right, bottom."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-x, -y, 1.0], [x, -y, 1.0], [x, y, 1.0], [-x, y, 1.0]]).T
    places = (matrix @ corners)[:, :2].permute(1, 0, 2).flatten(1)
    reach = torch.cat([-places, places]).amax(dim=1)
    reach = reach + torch.tensor([2.0 * MARGIN - x, 2.0 * MARGIN - y] * 2)
    most = torch.tensor([width - 1.0, height - 1.0] * 2)
    left, top, right, bottom = reach.clamp(min=0).minimum(most).ceil().int().tolist()
    return left, top, right, bottom


# --- colour -----------------------------------------------------------------------------------


def colours(count: int, p: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, luma flip, hue and saturation as affine maps of RGB: (n, 4, 4).

    Brightness + N(0, 0.2), contrast × 2^N(0, ½), hue any angle about grey, saturation × 2^N(0, 1).
    """
    one = torch.ones(count)
    brightness = torch.randn(count, generator=generator) * 0.2 * chosen(count, p, generator)
    matrix = translation(brightness, brightness, brightness)
    contrast = torch.where(chosen(count, p, generator), torch.exp2(torch.randn(count, generator=generator) * 0.5), one)
    matrix = scaling(contrast, contrast, contrast) @ matrix
    grey = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
    along = torch.outer(grey, grey)
    flipped = chosen(count, p, generator) & (torch.rand(count, generator=generator) < 0.5)
    matrix = (torch.eye(4) - 2 * along * flipped.view(-1, 1, 1)) @ matrix
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.pi * chosen(count, p, generator)
    matrix = _about_grey(angle) @ matrix
    drawn = torch.exp2(torch.randn(count, generator=generator))
    saturation = torch.where(chosen(count, p, generator), drawn, one)
    return (along + (torch.eye(4) - along) * saturation.view(-1, 1, 1)) @ matrix


def _about_grey(angle: Tensor) -> Tensor:
    """Rotations of RGB by `angle` (n,) about the axis of greys (Rodrigues): (n, 4, 4)."""
    axis = 1 / math.sqrt(3)
    cross = torch.tensor([[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]])
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    matrix = identity(angle.shape[0], 4)
    matrix[:, :3, :3] = cosine * torch.eye(3) + sine * cross + (1 - cosine) * torch.full((3, 3), 1 / 3)
    return matrix


def recolour(x: Tensor, matrix: Tensor) -> Tensor:
    """x (n, c, h, w) through matrix (n, 4, 4); images of other than 3 channels by what it does to grey."""
    matrix = matrix.to(x)
    if x.shape[1] == 3:
        return (matrix[:, :3, :3] @ x.flatten(2) + matrix[:, :3, 3:]).view(x.shape)
    row = matrix[:, :3].mean(dim=1)
    return x * row[:, :3].sum(dim=1).view(-1, 1, 1, 1) + row[:, 3].view(-1, 1, 1, 1)


# --- holes ------------------------------------------------------------------------------------


def cut(x: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """With probability p a rectangle of half of each side, centred anywhere, becomes 0."""
    count = x.shape[0]
    side = 0.5 * chosen(count, p, generator)
    centre = torch.rand((2, count, 1), generator=generator)
    outside = [
        ((torch.arange(length) + 0.5) / length - centre[axis]).abs() >= side[:, None] / 2
        for axis, length in enumerate(x.shape[2:])
    ]
    kept = outside[0][:, :, None] | outside[1][:, None, :]
    return x * kept[:, None].to(x)
