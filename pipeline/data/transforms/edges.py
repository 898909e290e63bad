"""The edges of an image: what a design that fills outlines in is given."""

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
    """How strong an edge has to be."""

    threshold: int | None = Field(
        default=None, ge=1, le=255, description="0 below and 255 from this strength on; null: the strength itself"
    )


class Transform(Base[Config]):
    """The Sobel operator on luma: √(g_x² + g_y²) / 4, rounded and cut at 255; borders are repeated outwards.

    So the two columns beside a full step from black to white are 255, and a slope of s levels a pixel is 2 s.
    """

    def field(self, of: FieldSpec) -> FieldSpec:
        _shared.check_image(of)
        return replace(of, shape=(1, *of.shape[1:]))

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        grey = np.pad(_shared.luma(values).astype(np.int32), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        down = grey[..., :-2, :] + 2 * grey[..., 1:-1, :] + grey[..., 2:, :]
        along = grey[..., :, :-2] + 2 * grey[..., :, 1:-1] + grey[..., :, 2:]
        across, upright = down[..., 2:] - down[..., :-2], along[..., 2:, :] - along[..., :-2, :]
        strength = np.minimum(np.rint(np.sqrt((across**2 + upright**2).astype(np.float64)) / 4), 255).astype(np.uint8)
        if self.config.threshold is None:
            return strength
        return np.where(strength >= self.config.threshold, np.uint8(255), np.uint8(0))
