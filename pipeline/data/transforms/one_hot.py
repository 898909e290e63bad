"""A label map as planes, one a class: what a design that makes photographs of maps is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.data import label_maps
from pipeline.data.transform import Transform as Base
from pipeline.errors import UserError
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec


class Config(Settings):
    """How many classes there are."""

    classes: int = Field(default=label_maps.NUMBERS, ge=2, le=label_maps.NUMBERS, description="a plane for each")
    ignored: int | None = Field(default=255, ge=0, le=255, description="a value that is no class: 0 in all planes")


class Transform(Base[Config]):
    """255 in the plane of each place's class and 0 in the others, which is 1 and 0 in batches."""

    def field(self, of: FieldSpec) -> FieldSpec:
        if of.kind != "mask" or len(of.shape) != 3 or of.shape[0] != 1:
            raise ValueError(f"takes a mask of one channel, such as a label map, and '{of.name}' is {_described(of)}")
        return replace(of, shape=(self.config.classes, *of.shape[1:]))

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        config = self.config
        found = label_maps.unknown(values, config.classes, config.ignored)
        if found is not None:
            raise UserError(
                f"one_hot: a map holds the value {found[0]}, and classes is {config.classes}; set it to the number of "
                "classes of the source"
            )
        return label_maps.planes(values, config.classes, config.ignored)


def _described(of: FieldSpec) -> str:
    return of.kind if of.kind != "mask" else f"a mask of {of.shape[0]} channels"
