"""Pairs of images: two sub-folders with equal names, or one folder whose images hold both halves side by side."""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.data import images, label_maps
from pipeline.data.kinds import IMAGES
from pipeline.data.listing import Item, Listing
from pipeline.data.source import DataSource, Entry, Limits, SourceField, printable
from pipeline.data.sources import _shared
from pipeline.errors import Rejected, SettingsError
from pipeline.settings import DataPath, Settings
from pipeline.types import Array

MAPS = frozenset({"input_classes", "ignored"})
"""The keys of label maps."""


class Config(Settings):
    """Where the pairs are, and which half is made from which: the target is x, the input its `pair`."""

    folder: DataPath = Field(description="searched with its sub-folders")
    layout: Literal["folders", "side_by_side"] = Field(
        default="folders", description="two sub-folders with equal names, or one image a pair, cut in the middle"
    )
    input: str = Field(default="input", description="folders: the sub-folder of what is translated")
    target: str = Field(default="target", description="folders: the sub-folder of what is to come out")
    target_side: Literal["left", "right"] = Field(default="right", description="side_by_side: where the target is")
    input_classes: int | None = Field(
        default=None,
        ge=2,
        le=255,
        description="the inputs are label maps: PNGs whose values are 0 to one less than this",
    )
    ignored: int | None = Field(default=255, ge=0, le=255, description="a value of label maps that is no class")
    links: _shared.LinksSetting = Field(default="auto", description=_shared.LINKS)

    @model_validator(mode="after")
    def _two(self) -> Config:
        if self.layout == "folders" and self.input == self.target:
            raise ValueError(f"target: input and target are both '{self.input}'; name two sub-folders")
        if self.layout != "folders" and self.input_classes is not None:
            raise ValueError("input_classes: a map cannot lie in one picture with a photograph; use layout: folders")
        if self.input_classes is not None and self.ignored is not None and self.ignored < self.input_classes:
            raise ValueError(
                f"ignored: {self.ignored} is one of the {self.input_classes} classes; name another or null"
            )
        return self


class Source(DataSource[Config]):
    """Unlabelled pairs in the order of their names; what has no partner is rejected.

    The input is the field `pair`, or `map` where it is a label map: one number of a class for each place.
    """

    paths = ("folder",)
    fields = (SourceField("pair"),)

    def __init__(self, given: Config) -> None:
        super().__init__(given)
        if given.input_classes is not None:
            self.fields = (SourceField("map", "mask", channels=1, ground=given.ignored or 0),)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        from PIL import Image

        for side in ("input", "target"):
            (folder / side).mkdir()
            Image.new("RGB", (4, 5), (1, 2, 3)).save(folder / side / "x.png")
        (folder / "input" / "lonely.png").touch()
        return {"folder": str(folder)}

    def describe(self) -> dict[str, Any]:
        """Without the keys of label maps where there are none, so that manifests of before keep their bytes."""
        found = super().describe()
        return found if self.given.input_classes is not None else {k: v for k, v in found.items() if k not in MAPS}

    def check(self, where: str = "ingest.source") -> None:
        config = self.config
        _shared.require_folder(config.folder, f"{where}.folder")
        _shared.require_links(config.links, where)
        if config.layout == "side_by_side":
            _shared.require_items(self._whole, config.folder, f"{where}.folder")
            _shared.refuse_splits(self._whole, config.folder, where)
            return
        sides = {"input": config.input, "target": config.target}
        for key, name in sides.items():
            _shared.require_subfolder(config.folder, name, f"{where}.{key}", config.links)
        _shared.require_apart(config.folder, config.input, config.target, where)
        for key, name in sides.items():
            _shared.require_items(self._side(name), Path(config.folder) / name, f"{where}.{key}")
        for key, name in sides.items():
            _shared.refuse_splits(self._side(name), name, where, key)
        if not any(inputs and targets for _, inputs, targets in self._matched()):
            one, other = (printable(min(self._names(name))) for name in sides.values())
            raise SettingsError(
                f"{where}.folder: no name stands in both '{config.input}' and '{config.target}'; pairs are "
                f"matched by name without its ending, such as '{one}' and '{other}'"
            )

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        if self.config.layout == "side_by_side":
            return [Entry(printable(name), name, problem=problem) for name, problem in self._whole.items]
        return [self._entry(*each) for each in self._matched()]

    def linked(self) -> tuple[Path, ...]:
        if self.config.layout == "side_by_side":
            return _shared.linked([self._whole])
        return _shared.linked(map(self._side, (self.config.input, self.config.target)))

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        if self.config.layout == "side_by_side":
            return self._whole.named()
        sides = (self.config.input, self.config.target)
        return tuple((f"{name}/{item}", why) for name in sides for item, why in self._side(name).named())

    @property
    def _whole(self) -> Listing:
        return self._side("")

    @functools.cached_property
    def _listings(self) -> dict[str, Listing]:
        return {}

    def _side(self, name: str) -> Listing:
        """What a sub-folder holds, walked through once; "": the folder itself."""
        if name not in self._listings:
            self._listings[name] = _shared.listed(self.config.folder, IMAGES, self.config.links, name)
        return self._listings[name]

    def _names(self, name: str) -> dict[str, list[Item]]:
        """Files of a sub-folder by their name without its ending."""
        found: dict[str, list[Item]] = {}
        for file, problem in self._side(name).items:
            found.setdefault(str(PurePosixPath(file).with_suffix("")), []).append((file, problem))
        return found

    def _matched(self) -> list[tuple[str, list[Item], list[Item]]]:
        """Each name, and the files of this name in either sub-folder.

        What has no partner of just its name may have one in another form of Unicode, as macOS writes names.
        """
        inputs, targets = self._names(self.config.input), self._names(self.config.target)
        lone: list[dict[str, list[str]]] = []
        for mine, others in ((inputs, targets), (targets, inputs)):
            forms: dict[str, list[str]] = {}
            for stem in mine.keys() - others.keys():
                forms.setdefault(unicodedata.normalize("NFC", stem), []).append(stem)
            lone.append(forms)
        other_form = {
            lone[1][form][0]: stems[0]
            for form, stems in lone[0].items()
            if len(stems) == 1 and len(lone[1].get(form, [])) == 1
        }
        stems = {*inputs, *targets} - set(other_form.values())
        return [(stem, inputs.get(other_form.get(stem, stem), []), targets.get(stem, [])) for stem in sorted(stems)]

    def _entry(
        self,
        stem: str,
        inputs: list[Item],
        targets: list[Item],
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
        classes = self.config.input_classes
        if classes is None:
            return {"pair": self._half(stored, limits, target=False)}
        numbers = images.decode_map(stored[1], limits)
        label_maps.check(numbers, classes, self.config.ignored)
        return {"map": numbers}

    def _half(self, stored: tuple[bytes, ...], limits: Limits, target: bool) -> NDArray[np.uint8]:
        """The target or the input of a pair.

        Raises:
            Rejected: if the picture cannot be cut into two halves.
        """
        if self.config.layout == "folders":
            return images.decode(stored[0] if target else stored[1], limits)
        whole = images.decode(stored[0], limits)
        width = whole.shape[1]
        if width % 2:
            raise Rejected("odd width", f"{width} columns cannot be cut into two halves")
        right = (self.config.target_side == "right") == target
        return whole[:, width // 2 :] if right else whole[:, : width // 2]
