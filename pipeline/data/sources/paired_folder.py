"""Pairs of images: two sub-folders with equal names, or one folder whose images hold both halves side by side."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.data import images
from pipeline.data.source import DataSource, Entry, Limits, Rejected, printable
from pipeline.data.sources import _shared
from pipeline.settings import Settings, SettingsError
from pipeline.types import Array


class Config(Settings):
    """Where the pairs are, and which half is made from which: the target is x, the input its `pair`."""

    folder: str = Field(description="searched with its sub-folders")
    layout: Literal["folders", "side_by_side"] = Field(
        default="folders", description="two sub-folders with equal names, or one image a pair, cut in the middle"
    )
    input: str = Field(default="input", description="folders: the sub-folder of what is translated")
    target: str = Field(default="target", description="folders: the sub-folder of what is to come out")
    target_side: Literal["left", "right"] = Field(default="right", description="side_by_side: where the target is")

    @model_validator(mode="after")
    def _two(self) -> Config:
        if self.layout == "folders" and self.input == self.target:
            raise ValueError(f"target: input and target are both '{self.input}'; name two sub-folders")
        return self


class Source(DataSource[Config]):
    """Unlabelled pairs in the order of their names; what has no partner is set aside."""

    paths = ("folder",)
    fields = ("pair",)

    def check(self, where: str = "ingest.source") -> None:
        _shared.require_folder(self.config.folder, f"{where}.folder")
        if self.config.layout == "side_by_side":
            if not any(Path(self.config.folder).iterdir()):
                raise SettingsError(f"{where}.folder: '{self.config.folder}' is empty")
            return
        for key in ("input", "target"):
            _shared.require_subfolder(self.config.folder, getattr(self.config, key), f"{where}.{key}")
        inputs, targets = (set(self._names(name)) for name in (self.config.input, self.config.target))
        if not inputs & targets:
            raise SettingsError(
                f"{where}.folder: no name stands in both '{self.config.input}' and '{self.config.target}'; pairs are "
                f"matched by name without its ending, such as '{min(inputs)}' and '{min(targets)}'"
            )

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        if self.config.layout == "side_by_side":
            found = _shared.listed(Path(self.config.folder))
            return [Entry(printable(name), name, problem=problem) for name, problem in found]
        inputs, targets = self._names(self.config.input), self._names(self.config.target)
        return [self._entry(stem, inputs.get(stem, []), targets.get(stem, [])) for stem in sorted({*inputs, *targets})]

    def _names(self, name: str) -> dict[str, list[tuple[str, _shared.Problem | None]]]:
        """Files of a sub-folder by their name without its ending."""
        found: dict[str, list[tuple[str, _shared.Problem | None]]] = {}
        for file, problem in _shared.listed(Path(self.config.folder) / name):
            found.setdefault(str(PurePosixPath(file).with_suffix("")), []).append((file, problem))
        return found

    def _entry(
        self,
        stem: str,
        inputs: list[tuple[str, _shared.Problem | None]],
        targets: list[tuple[str, _shared.Problem | None]],
    ) -> Entry:
        """One name, as it stands in either sub-folder."""
        key = printable(stem)
        for side, found in ((self.config.input, inputs), (self.config.target, targets)):
            if not found:
                return Entry(key, stem, problem=("no partner", f"'{side}' holds nothing of this name"))
            if len(found) > 1:
                names = ", ".join(printable(file) for file, _ in found)
                return Entry(key, stem, problem=("two files of one name", f"in '{side}': {names}"))
            if found[0][1] is not None:
                return Entry(key, stem, problem=found[0][1])
        return Entry(key, f"{inputs[0][0]}\0{targets[0][0]}")

    def fetch(self, entry: Entry, limits: Limits) -> tuple[bytes, ...]:
        """The files of one item: the target's and the input's, or the one that holds both."""
        where, root = cast(str, entry.where), Path(self.config.folder)
        if self.config.layout == "side_by_side":
            return (_shared.file_bytes(root / where, limits),)
        first, _, second = where.partition("\0")
        paths = (root / self.config.target / second, root / self.config.input / first)
        return tuple(_shared.file_bytes(path, limits) for path in paths)

    def decode(self, stored: tuple[bytes, ...], limits: Limits) -> NDArray[np.uint8]:
        return self._half(stored, limits, target=True)

    def decode_fields(self, stored: tuple[bytes, ...], limits: Limits) -> dict[str, Array]:
        return {"pair": self._half(stored, limits, target=False)}

    def _half(self, stored: tuple[bytes, ...], limits: Limits, target: bool) -> NDArray[np.uint8]:
        """The target or the input of a pair."""
        if self.config.layout == "folders":
            return images.decode(stored[0] if target else stored[1], limits)
        whole = images.decode(stored[0], limits)
        width = whole.shape[1]
        if width % 2:
            raise Rejected("odd width", f"{width} columns cannot be cut into two halves")
        right = (self.config.target_side == "right") == target
        return whole[:, width // 2 :] if right else whole[:, : width // 2]
