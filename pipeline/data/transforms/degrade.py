"""A damaged copy of an image, each in its own way: what a design that restores photographs is given."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, field_validator

from pipeline import randomness
from pipeline.data.transform import Transform as Base
from pipeline.data.transforms import _shared
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec

Range = tuple[float, float]


class Config(Settings):
    """Each range is [least, most]; a value is drawn from it for each example, the same whenever it is read."""

    blur: Range = Field(default=(0.2, 2.0), description="deviation of the Gaussian blur, in pixels; [0, 0]: none")
    factor: int = Field(
        default=1, ge=1, le=64, description="of both sides, which it must divide; 1: as large as before"
    )
    noise: Range = Field(default=(0.0, 0.1), description="deviation of the normal noise, where values lie in [-1, 1]")
    jpeg: tuple[int, int] | None = Field(default=(30, 95), description="quality, from 1 to 100; null: not compressed")
    same_size: bool = Field(default=False, description="enlarge the result to the size of the image (bicubic)")
    seed: int = Field(default=0, ge=0)

    @field_validator("blur", "noise", "jpeg")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError(f"must be [least, most] with 0 <= least <= most, not [{value[0]:g}, {value[1]:g}]")
        return value

    @field_validator("blur")
    @classmethod
    def _local(cls, value: Range) -> Range:
        if value[1] > MOST_BLUR:
            raise ValueError(f"at most {MOST_BLUR:g} pixels, not {value[1]:g}")
        return value

    @field_validator("jpeg")
    @classmethod
    def _quality(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not (value[0] >= 1 and value[1] <= 100):
            raise ValueError(f"quality lies in 1 to 100, not [{value[0]}, {value[1]}]")
        return value


MOST_BLUR = 20.0


class Transform(Base[Config]):
    """Blur, then bicubic reduction, then noise, then JPEG: the classical degradation (Wang et al. 2021, section 3.1).

    The blur is a normalised Gaussian cut at 3 deviations, borders repeated outwards. Values are rounded to whole grey
    levels after the blur and after the noise. JPEG is Pillow's with its usual subsampling of colour; alpha is never
    compressed.
    """

    def field(self, of: FieldSpec) -> FieldSpec:
        _shared.check_image(of)
        sides = of.shape[1:]
        if any(side % self.config.factor for side in sides):
            written = "×".join(map(str, sides))
            raise ValueError(f"factor: {self.config.factor} does not divide the sides of '{of.name}', {written}")
        return replace(of, shape=(of.shape[0], *self._sides(sides)))

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        found = np.empty((len(values), values.shape[1], *self._sides(values.shape[2:])), dtype=np.uint8)
        for made, pixels, number in zip(found, values, numbers.tolist(), strict=True):
            made[:] = self._damaged(pixels, randomness.generator(self.config.seed, "degrade", number))
        return found

    def _sides(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        return sides if self.config.same_size else tuple(side // self.config.factor for side in sides)

    def _damaged(self, pixels: Array, generator: torch.Generator) -> Array:
        config, sides = self.config, pixels.shape[1:]
        shares: list[float] = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        deviation, noise = (
            low + share * (high - low)
            for share, (low, high) in zip(shares[:2], (config.blur, config.noise), strict=True)
        )
        x = blurred(pixels, deviation)
        if config.factor > 1:
            x = _shared.resized(x, (sides[0] // config.factor, sides[1] // config.factor))
        if noise:
            drawn = torch.randn(x.shape, generator=generator).numpy()
            x = np.rint(np.clip(x + 127.5 * noise * drawn, 0, 255)).astype(np.uint8)
        if config.jpeg is not None:
            least, most = config.jpeg
            x = compressed(x, min(least + int(shares[2] * (most - least + 1)), most))
        return _shared.resized(x, (sides[0], sides[1])) if x.shape[1:] != sides and config.same_size else x


def blurred(pixels: Array, deviation: float) -> Array:
    """uint8 (C, H, W) → the same blurred by a Gaussian of this deviation in pixels, rounded."""
    radius = int(np.ceil(3 * deviation))
    if radius == 0:
        return pixels
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    x = pixels.astype(np.float64)
    for axis in (1, 2):
        margins = [(0, 0)] * 3
        margins[axis] = (radius, radius)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, margins, mode="edge"), len(kernel), axis=axis)
        x = windows @ kernel
    return np.rint(np.clip(x, 0, 255)).astype(np.uint8)


def compressed(pixels: Array, quality: int) -> Array:
    """uint8 (C, H, W) → what is left of its colours after JPEG of this quality; further channels stay."""
    colours = 3 if len(pixels) >= 3 else 1
    buffer = io.BytesIO()
    _shared.picture(pixels[:colours]).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as image:
        again = _shared.planes(image)
    return np.concatenate([again, pixels[colours:]])
