"""Three ways to the Inception network's 299×299, each as a published tool does it: part of a score's protocol.

legacy_torch   pytorch-fid: pixels / 255, bilinear between pixel centres, no antialiasing, 2x − 1
legacy_tf      TensorFlow 1's FID graph: bilinear from pixel corners, no antialiasing, (x − 128) / 128
clean          clean-fid (Parmar et al. 2022): bicubic as PIL does it, antialiased, on floats, cut to
               0 … 255, (x − 128) / 128
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.architectures.inception import SIDE

Resize = Literal["legacy_torch", "legacy_tf", "clean"]


def network_input(pixels: Tensor, resize: Resize) -> Tensor:
    """Pixels 0 … 255 (n, 3, h, w), float32 → what the network is shown, (n, 3, 299, 299)."""
    return WAYS[resize](pixels)


def _legacy_torch(pixels: Tensor) -> Tensor:
    found = F.interpolate(pixels / 255, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return 2 * found - 1


def _legacy_tf(pixels: Tensor) -> Tensor:
    return (tf1_bilinear(pixels, (SIDE, SIDE)) - 128) / 128


def _clean(pixels: Tensor) -> Tensor:
    return (pil_bicubic(pixels, (SIDE, SIDE)).clamp(0, 255) - 128) / 128


WAYS: dict[Resize, Callable[[Tensor], Tensor]] = {
    "legacy_torch": _legacy_torch,
    "legacy_tf": _legacy_tf,
    "clean": _clean,
}


def tf1_bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """TF1's `resize_bilinear(align_corners=False)`: (n, c, h, w) → (n, c, *size), float32.

    Output i lies at i·in/out between input ⌊·⌋ and the one after, all in float32; rows first
    across, then down, as TensorFlow's kernel.
    """
    for dimension, after in ((3, size[1]), (2, size[0])):
        before = x.shape[dimension]
        if before == after:
            continue
        place = torch.arange(after, dtype=torch.float32) * torch.tensor(before / after, dtype=torch.float32)
        low = place.floor()
        share = (place - low).reshape((-1, 1) if dimension == 2 else (-1,)).to(x.device)
        first = low.long().to(x.device)
        left = x.index_select(dimension, first)
        right = x.index_select(dimension, (first + 1).clamp_(max=before - 1))
        x = left + (right - left) * share
    return x


def pil_bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """PIL's `resize(size, BICUBIC)` of float images: (n, c, h, w) → (n, c, *size), float32.

    Antialiased: where the image shrinks, the kernel widens with it. Sums are float64, and the
    result of the first pass (across) is float32, as PIL's are.
    """
    across = _coefficients(x.shape[3], size[1]).to(x.device)
    down = _coefficients(x.shape[2], size[0]).to(x.device)
    rows = (x.double() @ across.T).float()
    return (down @ rows.double()).float()


@functools.lru_cache(maxsize=16)
def _coefficients(before: int, after: int) -> Tensor:
    """The weights of each input in each output, (after, before), float64; rows sum to 1."""
    scale = before / after
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    result = torch.zeros(after, before, dtype=torch.float64)
    for out in range(after):
        centre = (out + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), before)
        weights = [_cubic((index - centre + 0.5) / stretch) for index in range(first, last)]
        total = math.fsum(weights)
        result[out, first:last] = torch.tensor([weight / total for weight in weights], dtype=torch.float64)
    return result


def _cubic(x: float) -> float:
    """Keys's kernel (1981) with a = −1/2."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    if x < 2:
        return -0.5 * (((x - 5) * x + 8) * x - 4)
    return 0.0
