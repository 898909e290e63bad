"""Label maps: a number of a class for each place, as planes of 0 and 255, and as colours that a person tells apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Rejected
from pipeline.types import Array

NUMBERS = 256


def unknown(numbers: Array, classes: int, ignored: int | None) -> tuple[int, int] | None:
    """The least value that is neither below `classes` nor `ignored`, and how often it occurs; None where all are."""
    counts = np.bincount(numbers.ravel(), minlength=NUMBERS)
    strange = [value for value in range(classes, NUMBERS) if counts[value] and value != ignored]
    return (strange[0], int(counts[strange[0]])) if strange else None


def check(numbers: Array, classes: int, ignored: int | None) -> None:
    """Refuse a map with numbers of no class.

    Raises:
        Rejected: naming the first of them.
    """
    found = unknown(numbers, classes, ignored)
    if found is not None:
        besides = "" if ignored is None else f", and {ignored} is ignored"
        raise Rejected(
            "unknown class", f"the value {found[0]}, {found[1]} times; classes are 0 to {classes - 1}{besides}"
        )


def planes(numbers: Array, classes: int, ignored: int | None) -> Array:
    """uint8 (n, 1, H, W) → (n, classes, H, W): 255 in the plane of each place's class, 0 in the others.

    A place of the value `ignored` is 0 in all of them.
    """
    kept = numbers if ignored is None else np.where(numbers == ignored, NUMBERS, numbers.astype(np.int64))
    return np.where(kept == np.arange(classes)[:, None, None], np.uint8(255), np.uint8(0))


def coloured(planes: Array) -> NDArray[np.uint8]:
    """uint8 planes (n, classes, H, W) → RGB (n, 3, H, W): PASCAL VOC's colours, its void's where no plane is set."""
    colours = np.concatenate([_palette(planes.shape[1]), np.array([NONE], dtype=np.uint8)])
    place = np.where(planes.any(axis=1), planes.argmax(axis=1), planes.shape[1])
    return np.ascontiguousarray(colours[place].transpose(0, 3, 1, 2))


NONE = (224, 224, 192)


def _palette(classes: int) -> NDArray[np.uint8]:
    """(classes, 3): the bits of a number are dealt to red, green and blue in turn, the highest place first."""
    found = np.zeros((classes, 3), dtype=np.uint8)
    for number in range(classes):
        for bit in range(8):
            found[number, bit % 3] |= ((number >> bit) & 1) << (7 - bit // 3)
    return found
