"""Dropout whose masks come from a generator that is handed in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def dropout(x: Tensor, keep: float, generator: torch.Generator | None) -> Tensor:
    """Keeps each number with probability `keep` and divides by it; without a generator, x itself.

    The mask is drawn on the CPU and moved, so that every device drops the same numbers.
    """
    if generator is None or keep >= 1:
        return x
    mask = torch.rand(x.shape, generator=generator) < keep
    return x * mask.to(x.device) / keep


class Dropper:
    """Dropout whose masks each example draws from a seed of its own, layer after layer.

    seeds: int64 (n,). share: of the numbers that become 0; the others are divided by what is kept. On the
    meta device nothing is drawn.
    """

    def __init__(self, seeds: Tensor, share: float) -> None:
        self.share = share
        self.sources: Sequence[torch.Generator] = (
            [] if seeds.is_meta else [torch.Generator().manual_seed(int(seed)) for seed in seeds.tolist()]
        )

    def __call__(self, x: Tensor) -> Tensor:
        if not self.sources or self.share <= 0:
            return x
        kept = torch.stack([torch.rand(x.shape[1:], generator=source) for source in self.sources]) >= self.share
        return x * kept.to(x.device) / (1 - self.share)
