"""Networks that grow: maps by level, the level of detail, and how a level fades in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.networks.layers.resample import enlarge, mean_pool, shrink, upsample_nearest

UNIT = 2**20


@dataclass(frozen=True, slots=True)
class GrownPlan:
    """Maps by stage: min(width // 2^stage, max_width); level k, base·2^k pixels, has those of stage k + 1.

    lod, the level of detail, runs from `levels` (the base alone) to 0 (all levels); a fraction is a fade.
    """

    base: tuple[int, int]
    levels: int
    channels: int
    width: int = 8192
    max_width: int = 512

    def maps(self, stage: int) -> int:
        return max(1, min(self.width // 2**stage, self.max_width))

    def size(self, level: int) -> tuple[int, int]:
        return self.base[0] * 2**level, self.base[1] * 2**level

    def top(self, lod: float) -> tuple[int, float]:
        """The highest level in use, and how much of it is still the level below (0 = faded in)."""
        whole = min(math.floor(lod), self.levels)
        return self.levels - whole, min(lod, self.levels) - whole


def at_detail(x: Tensor, plan: GrownPlan, lod: float) -> Tensor:
    """Images (n, c, H, W) as a generator at this lod could make them: averaged, faded, enlarged again.

    ProGAN fades its reals as it fades its fakes: x lerped with its own 2×2 averages.
    """
    top, fade = plan.top(lod)
    fine = shrink(x, plan.levels - top)
    if fade:
        fine = fine.lerp(upsample_nearest(mean_pool(fine)), fade)
    return enlarge(fine, plan.levels - top)


class Detail(nn.Module):
    """The level of detail that a network is sampled at, as an integer buffer so that averages copy it.

    Training sets it after each step; a network that was never trained stands at 0: fully grown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count: Tensor
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def set(self, lod: float) -> None:
        self.count.fill_(round(lod * UNIT))

    def get(self) -> float:
        # Shapes are the same at every lod.
        return 0.0 if self.count.is_meta else int(self.count) / UNIT


def fade_in(levels: nn.ModuleList, below: Tensor, x: Tensor, top: int, fade: float, count: int) -> Tensor:
    """Image heads of the top level's features `x` and of those below it, blended and enlarged to full size."""
    image: Tensor = levels[top].to_image(x)  # pyright: ignore[reportCallIssue]
    if fade and top:
        coarse: Tensor = levels[top - 1].to_image(below)  # pyright: ignore[reportCallIssue]
        image = image.lerp(upsample_nearest(coarse), fade)
    return enlarge(image, count - top)
