"""A smaller image of a larger one: the low-resolution half of a pair for super-resolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.data.transform import Transform as Base
from pipeline.data.transforms import _shared
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec


class Config(Settings):
    """Ledig et al. 2017 (SRGAN) take a factor of 4."""

    factor: int = Field(default=4, ge=2, le=64, description="of both sides, which it must divide")


class Transform(Base[Config]):
    """Bicubic (Keys 1981, a = −½) and antialiased: Pillow's `resize`, rounded to whole grey levels."""

    def field(self, of: FieldSpec) -> FieldSpec:
        _shared.check_image(of)
        if any(side % self.config.factor for side in of.shape[1:]):
            sides = "×".join(map(str, of.shape[1:]))
            raise ValueError(f"factor: {self.config.factor} does not divide the sides of '{of.name}', {sides}")
        return replace(of, shape=(of.shape[0], *(side // self.config.factor for side in of.shape[1:])))

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        height, width = (side // self.config.factor for side in values.shape[2:])
        found = np.empty((len(values), values.shape[1], height, width), dtype=np.uint8)
        for made, pixels in zip(found, values, strict=True):
            made[:] = _shared.resized(pixels, (height, width))
        return found
