"""An image of any size through networks of a limited one: padded to a multiple, cut into overlapping tiles, joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.family import Resizing
from pipeline.errors import Rejected, UserError
from pipeline.limits import TRANSLATED_PIXELS

Pixels = NDArray[np.uint8]
Made = Callable[[Pixels], NDArray[np.float32]]
"""Pixels (C, h, w) → what comes of them (c, scale·h, scale·w) in [-1, 1]."""


@dataclass(frozen=True)
class Cuts:
    """How one image is cut, all in pixels of the input.

    padded: (height, width) after padding below and at the right. tile: sides of a tile. rows, columns: where tiles
    begin. overlap: of neighbours, at least.
    """

    size: tuple[int, int]
    padded: tuple[int, int]
    tile: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    overlap: int
    scale: int

    @property
    def said(self) -> dict[str, Any]:
        """For a record."""
        height, width = self.size
        return {
            "size": [height, width],
            "padding": [self.padded[0] - height, self.padded[1] - width],
            "tiles": [len(self.rows), len(self.columns)],
            "tile": list(self.tile),
            "output_size": [height * self.scale, width * self.scale],
        }


def cut(size: tuple[int, int], resizing: Resizing, tile: int, overlap: int) -> Cuts:
    """The cuts of an image of this size.

    Raises:
        Rejected: if the output would have more pixels than are written.
        UserError: if a tile is no larger than the overlap.
    """
    if size[0] * size[1] * resizing.scale**2 > TRANSLATED_PIXELS:
        raise Rejected(
            "too large an output",
            f"{size[0] * resizing.scale}×{size[1] * resizing.scale}, and {TRANSLATED_PIXELS:,} pixels are made at most",
        )
    padded = tuple(max(_up(side, resizing.multiple), resizing.least) for side in size)
    within = max(_up(tile, resizing.multiple), resizing.least)
    if overlap >= within and max(padded) > within:
        raise UserError(f"overlap: {overlap} must be less than the tile, {within}")
    tiles = [min(within, side) for side in padded]
    starts = [_starts(side, each, overlap, resizing.multiple) for side, each in zip(padded, tiles, strict=True)]
    return Cuts(
        size, (padded[0], padded[1]), (tiles[0], tiles[1]), starts[0], starts[1], overlap, resizing.scale
    )  # fmt: skip


def translated(pixels: Pixels, cuts: Cuts, make: Made) -> Pixels:
    """What comes of an image (C, H, W): uint8 (c, scale·H, scale·W).

    Where tiles overlap, the outer quarter of the overlap is the neighbour's alone, and the middle half fades from one
    to the other, so that weights add up to 1 everywhere. At most two rows of tiles are held as floats.
    """
    height, width = cuts.size
    margins = ((0, 0), (0, cuts.padded[0] - height), (0, cuts.padded[1] - width))
    x = np.pad(pixels, margins, mode="symmetric")
    if len(cuts.rows) == len(cuts.columns) == 1:
        return _quantised(make(x))[:, : height * cuts.scale, : width * cuts.scale]
    down = _weights(cuts.rows, cuts.tile[0], cuts)
    across = _weights(cuts.columns, cuts.tile[1], cuts)
    scale, (tall, wide) = cuts.scale, cuts.tile
    out: Pixels | None = None
    held: NDArray[np.float32] | None = None
    for number, top in enumerate(cuts.rows):
        band: NDArray[np.float32] | None = None
        for weight, left in zip(across, cuts.columns, strict=True):
            made = make(np.ascontiguousarray(x[:, top : top + tall, left : left + wide]))
            if band is None:
                band = np.zeros((len(made), tall * scale, cuts.padded[1] * scale), dtype=np.float32)
            band[:, :, left * scale : (left + wide) * scale] += made * weight
        assert band is not None  # there is a column
        band *= down[number][:, None]
        if held is not None:
            shared = (cuts.rows[number - 1] + tall - top) * scale
            band[:, :shared] += held[:, held.shape[1] - shared :]
        if out is None:
            out = np.empty((len(band), cuts.padded[0] * scale, cuts.padded[1] * scale), dtype=np.uint8)
        # Rows that no later tile reaches are done.
        done = (cuts.rows[number + 1] - top if number + 1 < len(cuts.rows) else tall) * scale
        out[:, top * scale : top * scale + done] = _quantised(band[:, :done])
        held = band
    assert out is not None  # there is a row
    return out[:, : height * scale, : width * scale]


def _quantised(x: NDArray[np.float32]) -> Pixels:
    """[-1, 1] → uint8, rounded.

    Raises:
        UserError: if a number is not finite.
    """
    if not np.isfinite(x).all():
        raise UserError("the generator gives non-finite samples: its weights are broken; train it again")
    return np.clip(np.rint((x + 1) * 127.5), 0, 255).astype(np.uint8)


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _starts(side: int, tile: int, overlap: int, multiple: int) -> tuple[int, ...]:
    """Where tiles of one axis begin: each a multiple, the last ends with the image."""
    step = max((tile - overlap) // multiple * multiple, multiple)
    return (*range(0, side - tile, step), side - tile)


def _weights(starts: tuple[int, ...], tile: int, cuts: Cuts) -> list[NDArray[np.float32]]:
    """The weights (scale·tile,) of each tile along one axis, which add up to 1 at every place."""
    end, found = starts[-1] + tile, list[NDArray[np.float64]]()
    place = (np.arange(tile * cuts.scale) + 0.5) / cuts.scale
    for start in starts:
        weight = np.ones(tile * cuts.scale)
        for inner, distance in ((start > 0, place), (start + tile < end, tile - place)):
            if inner and cuts.overlap:
                weight *= np.clip((distance - cuts.overlap / 4) / (cuts.overlap / 2), 0, 1)
        found.append(weight)
    total = np.zeros(end * cuts.scale)
    for start, weight in zip(starts, found, strict=True):
        total[start * cuts.scale : (start + tile) * cuts.scale] += weight
    return [
        (weight / total[start * cuts.scale : (start + tile) * cuts.scale]).astype(np.float32)
        for start, weight in zip(starts, found, strict=True)
    ]
