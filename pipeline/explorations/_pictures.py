"""Pictures of a person, brought to a model's shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.data import kinds, listing, regular
from pipeline.data.images import decode, fit
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Problem
from pipeline.errors import Rejected, UserError
from pipeline.sampling.samples import Pixels
from pipeline.types import DataSpec


@dataclass(frozen=True)
class Picture:
    """Pixels (C, H, W) in the model's own shape; sides: (height, width) that the file has."""

    name: str
    pixels: Pixels
    sides: tuple[int, int]


def read(path: Path, limit: int, max_pixels: int, spec: DataSpec) -> list[Picture]:
    """The picture at `path`, or the first of the folder by their names, cut to the model's proportions and resized.

    Raises:
        UserError: if there are none, or one of them is broken.
    """
    files: list[tuple[Path, Problem | None]] = [(path, None)]
    if path.is_dir():
        found = listing.listed(path, kinds.IMAGES).items
        files = [(path / name, problem) for name, problem in found if "/" not in name]
    if not files or not path.exists():
        raise UserError(f"images: there is no picture (PNG, JPEG, WebP) at {path}")
    channels, height, width = spec.shape
    settings = IngestSettings.model_validate(
        {
            "source": {"name": "image_folder", "folder": str(path)},
            "resolution": [height, width],
            "channels": channels,
            "resize": "center_crop",
            "max_pixels": max_pixels,
        }
    )
    pictures: list[Picture] = []
    for file, problem in files[:limit]:
        if problem is not None:
            raise UserError(f"images: {file} cannot be read: {': '.join(filter(None, problem))}")
        try:
            whole = decode(regular.read(file, settings.max_bytes), settings.limits)
            pictures.append(Picture(file.name, fit(whole, settings), (whole.shape[0], whole.shape[1])))
        except Rejected as error:
            why = ": ".join(filter(None, (error.reason, error.detail)))
            raise UserError(f"images: {file} cannot be read: {why}") from None
    return pictures
