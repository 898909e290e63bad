"""Two domains without pairs, such as horses and zebras: two folders of images."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.data import images
from pipeline.data.kinds import IMAGES
from pipeline.data.listing import Listing
from pipeline.data.source import DataSource, Entry, Limits, SourceField, printable
from pipeline.data.sources import _shared
from pipeline.settings import DataPath, Settings


class Config(Settings):
    """Where the domains are: the target is x, the domain that is made and scored; the input is `unpaired`."""

    folder: DataPath = Field(description="holds both")
    input: str = Field(default="A", description="the sub-folder of the domain that is translated, as trainA")
    target: str = Field(default="B", description="the sub-folder of the domain that is to come out, as trainB")
    links: _shared.LinksSetting = Field(default="auto", description=_shared.LINKS)

    @model_validator(mode="after")
    def _two(self) -> Config:
        if self.input == self.target:
            raise ValueError(f"target: input and target are both '{self.input}'; name two sub-folders")
        return self


class Source(DataSource[Config]):
    """Unlabelled images: the target's in the order of their names, then the input's."""

    paths = ("folder",)
    fields = (SourceField("unpaired", source="other_domain"),)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        from PIL import Image

        for side in ("A", "B"):
            (folder / side).mkdir()
            Image.new("RGB", (4, 5), (1, 2, 3)).save(folder / side / "x.png")
        return {"folder": str(folder)}

    def check(self, where: str = "ingest.source") -> None:
        config = self.config
        _shared.require_folder(config.folder, f"{where}.folder")
        _shared.require_links(config.links, where)
        sides = {"input": config.input, "target": config.target}
        for key, name in sides.items():
            _shared.require_subfolder(config.folder, name, f"{where}.{key}", config.links)
        _shared.require_apart(config.folder, config.input, config.target, where)
        for key, name in sides.items():
            _shared.require_items(self._domains[name], Path(config.folder) / name, f"{where}.{key}")
        for key, name in sides.items():
            _shared.refuse_splits(self._domains[name], name, where, key)

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        return [*self._domain(self.config.target, False), *self._domain(self.config.input, True)]

    def linked(self) -> tuple[Path, ...]:
        return _shared.linked(self._domains.values())

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        return tuple((f"{name}/{item}", why) for name, found in self._domains.items() for item, why in found.named())

    @functools.cached_property
    def _domains(self) -> dict[str, Listing]:
        """What either sub-folder holds."""
        config = self.config
        sides = (config.target, config.input)
        return {name: _shared.listed(config.folder, IMAGES, config.links, name) for name in sides}

    def _domain(self, name: str, unpaired: bool) -> list[Entry]:
        return [
            Entry(f"{name}/{printable(file)}", f"{name}/{file}", problem=problem, unpaired=unpaired)
            for file, problem in self._domains[name].items
        ]

    def fetch(self, entry: Entry, limits: Limits) -> bytes:
        return _shared.file_bytes(Path(self.config.folder) / cast(str, entry.where), limits)

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored, limits)
