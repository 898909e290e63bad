"""Pictures of a person, brought to a model's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import kinds, listing, regular
from pipeline.data.images import decode, fit
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Problem
from pipeline.errors import Rejected, UserError
from pipeline.sampling.samples import Pixels


@dataclass(frozen=True)
class Picture:
    """Pixels (C, H, W) in the model's own shape; sides: (height, width) that the file has."""

    name: str
    pixels: Pixels
    sides: tuple[int, int]


def files_of(path: Path, key: str, limit: int) -> list[Path]:
    """The picture at `path`, or the first of the folder, in the order of their names.

    Raises:
        UserError: about the setting `key`, if there are none, or one of them cannot be read.
    """
    files: list[tuple[Path, Problem | None]] = [(path, None)]
    if path.is_dir():
        found = listing.listed(path, kinds.IMAGES).items
        files = [(path / name, problem) for name, problem in found if "/" not in name]
    if not files or not path.exists():
        raise UserError(f"{key}: there is no picture (PNG, JPEG, WebP) at {path}")
    for file, problem in files[:limit]:
        if problem is not None:
            raise UserError(f"{key}: {file} cannot be read: {': '.join(filter(None, problem))}")
    return [file for file, _ in files[:limit]]


def read(files: Sequence[Path], key: str, shape: Sequence[int], max_pixels: int) -> list[Picture]:
    """These files as pictures of this shape (C, H, W), cut in the middle to its proportions.

    Raises:
        UserError: about the setting `key`, if one of them is broken.
    """
    channels, *sides = shape
    given: dict[str, Any] = {"resolution": sides, "channels": channels, "resize": "center_crop"}
    settings = IngestSettings.model_validate({**given, "max_pixels": max_pixels})
    found: list[Picture] = []
    for file in files:
        try:
            whole = decode(regular.read(file, settings.max_bytes), settings.limits)
            found.append(Picture(file.name, fit(whole, settings), (whole.shape[0], whole.shape[1])))
        except Rejected as error:
            why = ": ".join(filter(None, (error.reason, error.detail)))
            raise UserError(f"{key}: {file} cannot be read: {why}") from None
    return found


def pixels(files: Sequence[Path], key: str, shape: Sequence[int], max_pixels: int) -> Pixels:
    """The same as one array (n, *shape)."""
    return np.stack([each.pixels for each in read(files, key, shape, max_pixels)])
