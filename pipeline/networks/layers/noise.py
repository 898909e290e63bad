"""Noise: per-pixel maps of the style-based generators, and the truncated normal."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Noise = torch.Generator | Literal["const", "none"]


def noise_map(noise: Noise, constant: Tensor, count: int) -> Tensor | None:
    """One map per example (n, 1, h, w), or one for all (h, w): `constant`; None where it is left out.

    A generator draws on the CPU and moves, so that every device adds the same numbers.
    """
    if isinstance(noise, torch.Generator):
        return torch.randn((count, 1, *constant.shape), generator=noise).to(constant.device)
    return constant if noise == "const" else None


def truncated_normal(z: Tensor, threshold: float) -> Tensor:
    """N(0, 1) numbers carried to N(0, 1) conditioned on |z| ≤ threshold, in their order.

    The distribution is that of drawing again what falls outside, and a number needs no second draw:
    Φ⁻¹(Φ(−t) + Φ(z)·(Φ(t) − Φ(−t))). At threshold 0 all is 0.
    """
    if threshold <= 0:
        return torch.zeros_like(z)
    edge = torch.special.ndtr(torch.tensor(-threshold, dtype=torch.float64, device=z.device))
    share = edge + torch.special.ndtr(z.double()) * (1 - 2 * edge)
    return torch.special.ndtri(share).clamp(-threshold, threshold).to(z.dtype)
