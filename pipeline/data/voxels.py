"""One grid of voxels: stored bytes or numbers → uint8 occupancy (D, H, W), 0 empty and 255 full, of one resolution.

What is done with unusual grids is decided here, once:

    booleans                    empty and full
    whole numbers               0 and 1, or 0 and 255; anything else needs a threshold
    floats                      0 … 1, in steps of 1/255; anything else needs a threshold
    one axis of uint8           bits, eight cells a byte, the first in the highest bit: the cells of a cube
    (1, D, H, W)                the grid in it
    NaN, infinity, objects      rejected
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Damaged, Rejected
from pipeline.storage import arrays

Grid = NDArray[np.uint8]
Pool = Literal["max", "mean"]
ENDINGS = (".binvox", ".npy", ".npz")
HEADER = 4096  # bytes before the data of a .binvox, and of an .npy whose shape is plain, at most
WIDEST = 8  # bytes a cell, at most
BINVOX = b"#binvox"


def decode(data: bytes, name: str, most: int, member: str | None = None) -> NDArray[Any]:
    """The array of a .npy, .npz or .binvox file's bytes, as it is stored.

    most: cells it may hold. member: which array of an .npz; None: its only one.

    Raises:
        Rejected: if it is damaged, holds more, or something else.
    """
    try:
        if data.startswith(BINVOX):
            return _binvox(data, most)
        if PurePosixPath(name).suffix.lower() == ".npz":
            return _member(data, most, member)
        return arrays.decode(data, most * WIDEST + HEADER)
    except Damaged as error:
        raise Rejected("damaged grid", str(error)) from None


def _member(data: bytes, most: int, member: str | None) -> NDArray[Any]:
    names = arrays.shapes(io.BytesIO(data))
    if member is None and len(names) != 1:
        held = ", ".join(sorted(names)[:4]) or "none"
        raise Rejected("several arrays" if names else "no array", f"it holds {held}; array names one of them")
    wanted = next(iter(names)) if member is None else member
    found, _ = arrays.read_members(io.BytesIO(data), [wanted], most * WIDEST + HEADER)
    if wanted not in found:
        raise Rejected("no array", f"it holds no '{wanted}' of plain numbers")
    return found[wanted]


def _binvox(data: bytes, most: int) -> NDArray[Any]:
    """Min's run-length format: cells in the order x, z, y, the last moving fastest → (x, y, z).

    Raises:
        Damaged: if it is none, is cut short, or holds other values than 0 and 1.
    """
    end = data.find(b"\ndata\n", 0, HEADER)
    lines = data[: max(end, 0)].split(b"\n")
    sizes = [line.split()[1:] for line in lines if line.startswith(b"dim")]
    if end < 0 or len(sizes) != 1 or len(sizes[0]) != 3 or not all(each.isdigit() for each in sizes[0]):
        raise Damaged("its header names no three sides, or does not end")
    sides = [int(each[:12]) for each in sizes[0]]
    cells = sides[0] * sides[1] * sides[2]
    if not 0 < cells <= most:
        raise Rejected("too many cells" if cells else "no cells", f"{_shown(sides)}, allowed are {most}")
    runs = np.frombuffer(data, np.uint8, offset=end + 6)
    values, counts = runs[0 : len(runs) // 2 * 2 : 2], runs[1::2].astype(np.int64)
    if len(runs) % 2 or int(counts.sum()) != cells:
        raise Damaged(f"cut short or damaged: its header says {cells} cells, and {int(counts.sum())} follow")
    if values.size and int(values.max()) > 1:
        raise Damaged("it holds other values than 0 and 1")
    return np.repeat(values, counts).reshape(sides).transpose(0, 2, 1).astype(bool)


def occupancy(found: NDArray[Any], most: int, threshold: float | None = None) -> Grid:
    """An array as it is stored → uint8 (D, H, W), 0 empty and 255 full.

    most: cells it may hold. threshold: what is above it is full, and all else empty.

    Raises:
        Rejected: for what the table above rejects.
    """
    if found.dtype == np.uint8 and found.ndim == 1:
        found = unpacked(found)
    if found.ndim == 4 and len(found) == 1:
        found = found[0]
    if found.ndim != 3 or not found.size:
        raise Rejected("no grid", f"an array of {_shown(found.shape) or 'one number'}, not (D, H, W)")
    if found.size > most:
        raise Rejected("too many cells", f"{_shown(found.shape)}, allowed are {most}")
    if found.dtype.kind not in "buif":
        raise Rejected("no grid", f"an array of {found.dtype}")
    if found.dtype.kind == "f" and not bool(np.isfinite(found).all()):
        raise Rejected("not finite", "it holds NaN or infinite values")
    if threshold is not None:
        return _full(found > threshold)
    if found.dtype == np.bool_:
        return _full(found)
    least, largest = found.min(), found.max()
    if found.dtype.kind == "f" and least >= 0 and largest <= 1:
        return np.rint(found.astype(np.float64) * 255).astype(np.uint8)
    if (
        found.dtype.kind in "ui"
        and least >= 0
        and largest in (0, 1, 255)
        and bool(((found == 0) | (found == largest)).all())
    ):
        return _full(found > 0)
    raise Rejected("values beyond 0 and 1", f"from {least:g} to {largest:g}; set ingest.source.threshold")


def _full(cells: NDArray[np.bool_]) -> Grid:
    return cells.astype(np.uint8) * np.uint8(255)


def unpacked(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes (n,) as the 8·n cells of a cube (side, side, side).

    Raises:
        Rejected: if so many cells are no cube.
    """
    side = cube(len(bits))
    if not side:
        raise Rejected("no cube", f"{len(bits)} bytes hold {8 * len(bits)} cells, which are no cube")
    return np.unpackbits(bits).reshape(side, side, side)


def cube(stored: int) -> int:
    """The side of the cube whose cells are that many bytes of bits; 0 where there is none."""
    side = round((8 * stored) ** (1 / 3))
    return side if side and side**3 == 8 * stored else 0


def pooled(grid: Grid, size: tuple[int, int, int], how: Pool) -> Grid:
    """(D, H, W) → `size`: the largest of each block of cells, or their mean.

    Raises:
        Rejected: if the sides are no multiples of those asked for.
    """
    if grid.shape == size:
        return grid
    if any(side % wanted for side, wanted in zip(grid.shape, size, strict=True)):
        raise Rejected("another resolution", f"{_shown(grid.shape)} is no multiple of {_shown(size)}")
    blocks = [part for side, wanted in zip(grid.shape, size, strict=True) for part in (wanted, side // wanted)]
    cut = grid.reshape(blocks)
    if how == "max":
        return cut.max(axis=(1, 3, 5))
    return np.rint(cut.mean(axis=(1, 3, 5), dtype=np.float64)).astype(np.uint8)


def _shown(sides: Any) -> str:
    return "×".join(map(str, sides))
