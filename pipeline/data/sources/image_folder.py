"""A folder of JPEG, PNG or WebP images; classes are its sub-folders, or stand in a csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data import images
from pipeline.data.kinds import IMAGES
from pipeline.data.source import Limits
from pipeline.data.sources._labelled_folder import FolderSettings, LabelledFolder


class Config(FolderSettings):
    """Where the images are and where their classes come from."""


class Source(LabelledFolder[Config]):
    """Every image below the folder, in the order of the paths' bytes; classes in natural order (2 before 10)."""

    kind = IMAGES

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        from PIL import Image

        for label in ("a", "b"):
            (folder / label).mkdir()
            Image.new("RGB", (4, 5), label and (1, 2, 3)).save(folder / label / "x.png")
        (folder / "a" / "broken.png").touch()
        return {"folder": str(folder)}

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored, limits)
