"""Examples and samples as one picture, which a notebook shows."""

from __future__ import annotations

import io
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from pipeline.reporting import gallery
from pipeline.sampling import pictures
from pipeline.types import DataSpec


def as_grid(x: NDArray[Any], spec: DataSpec, columns: int) -> Image.Image:
    """Examples (n, *spec.shape) in rows of `columns`; sound as spectrograms, rows of a table as grey values."""
    images = pictures.as_images(x, spec)
    return Image.open(io.BytesIO(gallery.grid(images, min(columns, len(images)))))
