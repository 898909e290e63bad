"""An image with holes, or the holes themselves: what a design that fills in is given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field, field_validator

from pipeline import randomness
from pipeline.data.transform import Transform as Base
from pipeline.data.transforms import _shared
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec

CORNERS = (4, 8)  # of a stroke, its ends included
GREY = 128  # what stands in a hole


class Config(Settings):
    """Each example has holes of its own, the same whenever it is read; equal seeds give equal holes."""

    holes: Literal["boxes", "strokes"] = Field(default="boxes", description="rectangles, or free strokes of a brush")
    count: tuple[int, int] = Field(default=(1, 1), description="[least, most] holes an image")
    size: tuple[float, float] = Field(
        default=(0.25, 0.5),
        description="[least, most] side of a box, over that of the image; of strokes, a third of it is the width",
    )
    gives: Literal["image", "mask", "both"] = Field(
        default="image",
        description="image: grey in the holes; mask: 255 where the image is kept, 0 in holes; both: the image and "
        "the mask behind it as a further channel",
    )
    seed: int = Field(default=0, ge=0)

    @field_validator("count", "size")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError(f"must be [least, most] with 0 < least <= most, not [{value[0]:g}, {value[1]:g}]")
        return value

    @field_validator("count")
    @classmethod
    def _few(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[1] > MOST_HOLES:
            raise ValueError(f"at most {MOST_HOLES} holes, not {value[1]}")
        return value

    @field_validator("size")
    @classmethod
    def _within(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[1] > 1:
            raise ValueError(f"a share of the image's side is at most 1, not {value[1]:g}")
        return value


MOST_HOLES = 100


class Transform(Base[Config]):
    """Boxes of even chances in size and place (Pathak et al. 2016), or strokes that wander (Yu et al. 2019).

    A stroke has 4 to 8 corners, a third of a box's size as its width, and round ends.
    """

    def field(self, of: FieldSpec) -> FieldSpec:
        _shared.check_image(of)
        if self.config.gives == "mask":
            return replace(of, kind="mask", shape=(1, *of.shape[1:]))
        if self.config.gives == "both":
            if of.shape[0] != 3:
                raise ValueError(f"gives: both is for images of 3 channels, and '{of.name}' has {of.shape[0]}")
            return replace(of, shape=(of.shape[0] + 1, *of.shape[1:]))
        return replace(of)

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        kept = np.zeros((len(values), 1, *values.shape[2:]), dtype=np.uint8)
        for made, number in zip(kept, numbers.tolist(), strict=True):
            made[0] = self._kept(
                (values.shape[2], values.shape[3]), randomness.generator(self.config.seed, "mask", number)
            )
        if self.config.gives == "mask":
            return kept
        image = np.where(kept == 0, np.uint8(GREY), values)
        return image if self.config.gives == "image" else np.concatenate([image, kept], axis=1)

    def _kept(self, sides: tuple[int, int], generator: torch.Generator) -> Array:
        """255 (H, W) where the image is kept, 0 in the holes."""
        config, (height, width) = self.config, sides
        image = Image.new("L", (width, height), 255)
        pen = ImageDraw.Draw(image)
        for _ in range(_whole(config.count, _drawn(1, generator)[0])):
            if config.holes == "strokes":
                _stroke(pen, sides, config.size, generator)
                continue
            high, wide, top, left = _drawn(4, generator)
            rows, columns = (
                max(1, round(_between(config.size, u) * side)) for u, side in ((high, height), (wide, width))
            )
            first, start = int(top * (height - rows + 1)), int(left * (width - columns + 1))
            pen.rectangle((start, first, start + columns - 1, first + rows - 1), fill=0)
        return np.asarray(image)


def _stroke(
    pen: ImageDraw.ImageDraw, sides: tuple[int, int], size: tuple[float, float], generator: torch.Generator
) -> None:
    """A line from a random place; at each corner it turns by up to 2/5 of a circle, to either side in turn."""
    height, width = sides
    shorter = min(sides)
    thick, corners, y, x, angle = _drawn(5, generator)
    brush = max(1, round(_between(size, thick) * shorter / 3))
    points = [(x * width, y * height)]
    direction = angle * 2 * math.pi
    for corner in range(1, _whole(CORNERS, corners)):
        turn, far = _drawn(2, generator)
        direction += (turn * 0.8 * math.pi) * (1 if corner % 2 else -1)
        length = (0.1 + 0.2 * far) * shorter
        x, y = points[-1]
        points.append(
            (
                min(max(x + length * math.cos(direction), 0), width),
                min(max(y + length * math.sin(direction), 0), height),
            )
        )
    pen.line(points, fill=0, width=brush)
    for x, y in points:
        pen.ellipse((x - brush / 2, y - brush / 2, x + brush / 2, y + brush / 2), fill=0)


def _drawn(count: int, generator: torch.Generator) -> list[float]:
    """Numbers in [0, 1)."""
    return torch.rand(count, generator=generator, dtype=torch.float64).tolist()


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _whole(ends: tuple[int, int], share: float) -> int:
    """One of the whole numbers from least to most, each as likely."""
    return min(ends[0] + int(share * (ends[1] - ends[0] + 1)), ends[1])
