"""Two pictures of one size against each other: how far apart they are, place by place, and one laid over the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GREY = 205
FULL = 128
"""Grey levels apart from which on the heat map is white."""


@dataclass(frozen=True)
class Slider:
    """PNG bytes of two pictures of one size, and what they are: the second slides over the first."""

    before: bytes
    after: bytes
    names: tuple[str, str]


def heat(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, C, H, W) → RGB (n, 3, H, W) of their mean absolute difference over channels.

    Black where they are equal, then red, yellow, and white from `FULL` grey levels on.
    """
    apart = np.abs(one.astype(np.int16) - other).mean(axis=1)
    level = 3 * np.minimum(apart / FULL, 1)
    return np.stack([np.rint(255 * np.clip(level - begin, 0, 1)).astype(np.uint8) for begin in range(3)], axis=1)


def of_one_size(pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Images (n, C, h, w) of several sizes: each enlarged a whole number of times, in the middle of a grey ground."""
    height, width = (max(images.shape[axis] for images in pictures) for axis in (2, 3))
    found: list[NDArray[np.uint8]] = []
    for images in pictures:
        scale = min(height // images.shape[2], width // images.shape[3])
        large = images.repeat(scale, axis=2).repeat(scale, axis=3)
        ground = np.full((*images.shape[:2], height, width), GREY, dtype=np.uint8)
        top, left = (height - large.shape[2]) // 2, (width - large.shape[3]) // 2
        ground[:, :, top : top + large.shape[2], left : left + large.shape[3]] = large
        found.append(ground)
    return found
