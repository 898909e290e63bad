"""Images of any size brought to one, before an extractor sees them: `zerosum score --size`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.extractor import Examples
from pipeline.data import images
from pipeline.data.settings import IngestSettings
from pipeline.errors import UserError
from pipeline.types import DataSpec

LARGEST = 8192
# Pillow's, which is antialiased when it shrinks; the whole image is stretched, so that none of it is lost.
FILTER = "bicubic"
SETTINGS = IngestSettings(resize="stretch", filter=FILTER)

Size = tuple[int, int]


def parse_size(text: str) -> Size:
    """`32` or `32x48` (height × width, in pixels) as (height, width).

    Raises:
        UserError: for anything else, or a side outside 1 … 8192.
    """
    found = re.fullmatch(r"(\d{1,5})(?:\s*[x×X]\s*(\d{1,5}))?", text.strip(), re.ASCII)
    sides = [] if found is None else [int(found[1]), int(found[2] or found[1])]
    if not sides or not all(1 <= side <= LARGEST for side in sides):
        raise UserError(f"--size {text}: must be one side of a square, or height x width, such as 64 or 48x64")
    return sides[0], sides[1]


def written(size: tuple[int, ...]) -> str:
    """A size as `--size` takes it: 64, or 48x64."""
    return str(size[0]) if len(set(size)) == 1 else "x".join(map(str, size))


@dataclass(frozen=True, eq=False)
class Resized:
    """Images of any size, uint8, as (C, height, width) of one: what `Examples` are, with another shape."""

    whole: Examples
    size: Size

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def spec(self) -> DataSpec:
        spec = self.whole.spec
        return replace(spec, shape=(spec.shape[0], *self.size))

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """`x`: uint8 (n, C, H, W) where channels are equal, else (n,) of dtype object, an array each."""
        found = dict(self.whole.examples(indices))
        made = [self._resized(image) for image in found["x"]]
        if len({len(image) for image in made}) == 1:
            found["x"] = np.stack(made)
        else:
            found["x"] = np.empty(len(made), dtype=object)
            found["x"][:] = made
        return found

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if image.shape[1:] == self.size:
            return image
        return np.ascontiguousarray(images.resized(image.transpose(1, 2, 0), self.size, SETTINGS).transpose(2, 0, 1))
