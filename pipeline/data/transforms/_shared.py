"""What the transforms of images share."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.types import Array, FieldSpec


def check_image(of: FieldSpec) -> None:
    """Refuse what is no image.

    Raises:
        ValueError: naming its kind.
    """
    if of.kind != "image":
        raise ValueError(f"takes an image, and '{of.name}' is of the kind {of.kind}")


def luma(pixels: Array) -> Array:
    """uint8 (n, C, H, W) → (n, 1, H, W): ITU-R 601 luma as Pillow rounds it; alpha is left out, grey stays."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = (pixels[:, channel : channel + 1].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def picture(pixels: Array) -> Image.Image:
    """uint8 (C, H, W) of 1, 3 or 4 channels → Pillow's image."""
    return Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))


def planes(image: Image.Image) -> Array:
    """The inverse of `picture`."""
    found = np.asarray(image)
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


def resized(pixels: Array, size: tuple[int, int]) -> Array:
    """uint8 (C, H, W) → (C, *size): bicubic (Keys 1981, a = −½), antialiased where it shrinks, rounded."""
    return planes(picture(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC))
