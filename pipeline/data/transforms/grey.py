"""A grey image of a coloured one: what a design that colours is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.data.transform import Transform as Base
from pipeline.data.transforms import _shared
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec


class Config(Settings):
    """No settings of its own."""


class Transform(Base[Config]):
    """ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 2¹⁵) / 2¹⁶ rounded down, as Pillow's `convert("L")`."""

    def field(self, of: FieldSpec) -> FieldSpec:
        _shared.check_image(of)
        if of.shape[0] == 1:
            raise ValueError(f"'{of.name}' is grey already; take an image with 3 channels")
        return replace(of, shape=(1, *of.shape[1:]))

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        return _shared.luma(values)
