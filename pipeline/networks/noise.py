"""Per-pixel noise of the style-based generators: drawn, kept constant, or left out."""

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
