"""A folder of JPEG, PNG or WebP images; classes are its sub-folders, or stand in a csv or in files' names."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.data import images
from pipeline.data.kinds import IMAGES
from pipeline.data.source import Entry, Limits
from pipeline.data.sources import _captions
from pipeline.data.sources._bands import BandedFolder, BandSettings
from pipeline.data.sources._caption_files import Said
from pipeline.data.sources._captions import CaptionSettings, Stored
from pipeline.types import Array


class Config(CaptionSettings, BandSettings):
    """Where the images are and where their classes and captions come from."""


class Source(BandedFolder[Config]):
    """Every image below the folder, in the order of the paths' bytes; classes in natural order (2 before 10)."""

    kind = IMAGES
    paths = ("folder", "labels", "captions", "caption_vectors")
    offered = _captions.OFFERED

    def __init__(self, given: Config) -> None:
        super().__init__(given)
        self.fields = _captions.fields(given)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        from PIL import Image

        for label in ("a", "b"):
            (folder / label).mkdir()
            Image.new("RGB", (4, 5), label and (1, 2, 3)).save(folder / label / "x.png")
        (folder / "a" / "broken.png").touch()
        return {"folder": str(folder)}

    def check(self, where: str = "ingest.source") -> None:
        super().check(where)
        config = self.config
        _captions.check(config, where)
        if config.captions is not None and not self._captioned[0]:
            files = [name for name, _ in self._listing.items]
            raise _captions.never_met(_captions.read(config), files, config, config.folder)

    def entries(self) -> list[Entry]:
        if self.config.captions is None:
            return super().entries()
        named = [(cast(str, entry.where), entry) for entry in super().entries()]
        return _captions.matched(named, *self._captioned, self.config)

    def describe(self) -> dict[str, Any]:
        return _captions.described(super().describe())

    def fetch(self, entry: Entry, limits: Limits) -> bytes | Stored:
        """The file; with captions, these beside it."""
        data = super().fetch(entry, limits)
        name = cast(str, entry.where)
        return data if self.config.captions is None else _captions.fetched(data, self._captioned[0][name], self.config)

    def decode(self, stored: bytes | Stored, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored if isinstance(stored, bytes) else stored[0], limits)

    def decode_fields(self, stored: bytes | Stored, limits: Limits) -> dict[str, Array]:
        return {} if isinstance(stored, bytes) else _captions.encoded(stored, self.given)

    @functools.cached_property
    def _captioned(self) -> tuple[dict[str, tuple[Said, ...]], list[str]]:
        """The captions of each file that they mean, and the names in their file that mean none."""
        return _captions.met(_captions.read(self.config), (name for name, _ in self._listing.items))
