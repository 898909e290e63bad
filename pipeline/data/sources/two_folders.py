"""Two domains without pairs, such as horses and zebras: two folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.data import images
from pipeline.data.source import DataSource, Entry, Limits, printable
from pipeline.data.sources import _shared
from pipeline.settings import Settings


class Config(Settings):
    """Where the domains are: the target is x, the domain that is made and scored; the input is `unpaired`."""

    folder: str = Field(description="holds both")
    input: str = Field(default="A", description="the sub-folder of the domain that is translated, as trainA")
    target: str = Field(default="B", description="the sub-folder of the domain that is to come out, as trainB")

    @model_validator(mode="after")
    def _two(self) -> Config:
        if self.input == self.target:
            raise ValueError(f"target: input and target are both '{self.input}'; name two sub-folders")
        return self


class Source(DataSource[Config]):
    """Unlabelled images: the target's in the order of their names, then the input's."""

    paths = ("folder",)
    fields = ("unpaired",)

    def check(self, where: str = "ingest.source") -> None:
        _shared.require_folder(self.config.folder, f"{where}.folder")
        for key in ("input", "target"):
            _shared.require_subfolder(self.config.folder, getattr(self.config, key), f"{where}.{key}")

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        return [*self._domain(self.config.target, False), *self._domain(self.config.input, True)]

    def _domain(self, name: str, unpaired: bool) -> list[Entry]:
        found = _shared.listed(Path(self.config.folder) / name)
        return [
            Entry(f"{name}/{printable(file)}", f"{name}/{file}", problem=problem, unpaired=unpaired)
            for file, problem in found
        ]

    def fetch(self, entry: Entry, limits: Limits) -> bytes:
        return _shared.file_bytes(Path(self.config.folder) / cast(str, entry.where), limits)

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored, limits)
