"""A folder of JPEG, PNG or WebP images; classes are its sub-folders, or stand in a csv."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits
from pipeline.data import images
from pipeline.data.kinds import IMAGES
from pipeline.data.listing import Listing
from pipeline.data.source import DataSource, Entry, Limits, Problem, printable
from pipeline.data.sources import _captions, _labels, _shared
from pipeline.data.sources._captions import CaptionSettings, Said, Stored
from pipeline.natural import natural
from pipeline.settings import DataPath
from pipeline.types import Array


class Config(CaptionSettings):
    """Where the images are and where their classes and captions come from."""

    folder: DataPath = Field(description="searched with its sub-folders")
    labels: DataPath = Field(
        default="folders",
        description="folders: the first sub-folder names the class (without sub-folders: unlabelled); "
        "none: unlabelled; else a csv file with the columns file (relative to the folder) and label",
    )
    links: _shared.LinksSetting = Field(default="auto", description=_shared.LINKS)
    max_labels_bytes: int = Field(default=limits.CSV_BYTES, ge=1, description="a larger csv is refused")


class Source(DataSource[Config]):
    """Every image below the folder, in the order of the paths' bytes; classes in natural order (2 before 10)."""

    paths = ("folder", "labels", "captions", "caption_vectors")
    offered = _captions.OFFERED

    def __init__(self, given: Config) -> None:
        super().__init__(given)
        self.fields = _captions.field(given)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        from PIL import Image

        for label in ("a", "b"):
            (folder / label).mkdir()
            Image.new("RGB", (4, 5), label and (1, 2, 3)).save(folder / label / "x.png")
        (folder / "a" / "broken.png").touch()
        return {"folder": str(folder)}

    def check(self, where: str = "ingest.source") -> None:
        config = self.config
        _shared.require_folder(config.folder, f"{where}.folder")
        _shared.require_links(config.links, where)
        if self._csv is not None:
            _shared.require_file(config.labels, f"{where}.labels")
            self._rows()
        _shared.require_items(self._listing, config.folder, f"{where}.folder")
        if config.labels == "folders" or len(self._listing.unfollowed) == len(self._listing.items):
            _shared.require_followed(self._listing, where)
        if self._csv is None:
            _shared.refuse_splits(self._listing, config.folder, where)
        elif not self._labelled[0]:
            files = [name for name, _ in self._listing.items]
            raise _labels.never_met(self._rows(), files, self._csv, config.folder)
        _captions.check(config, where)
        if config.captions is not None and not self._captioned[0]:
            files = [name for name, _ in self._listing.items]
            raise _captions.never_met(_captions.read(config), files, config, config.folder)

    def classes(self) -> tuple[str, ...]:
        if self._csv is not None:
            return tuple(sorted(set(self._rows().values()) - {""}, key=natural))
        if self.config.labels == "none":
            return ()
        return tuple(sorted(map(printable, self._listing.folders), key=natural))

    def entries(self) -> list[Entry]:
        if self.config.captions is None:
            return self._of_labels()
        mine, lost = self._captioned
        found = [
            replace(entry, problem=("no caption", f"no row of {Path(self.config.captions).name} names it"))
            if entry.problem is None and entry.where not in mine
            else entry
            for entry in self._of_labels()
        ]
        named = {entry.where for entry in found}
        absent = [name for name in lost if name not in named]
        why = "named in the captions"
        return [*found, *(Entry(printable(name), name, problem=(_labels.absent(name)[0], why)) for name in absent)]

    def describe(self) -> dict[str, Any]:
        return _captions.described(super().describe())

    def _of_labels(self) -> list[Entry]:
        classes = frozenset(self.classes())
        if self._csv is None:
            return [self._entry(name, problem, classes) for name, problem in self._listing.items]
        labels, lost = self._labelled
        entries = [_of_csv(name, problem, labels.get(name, "")) for name, problem in self._listing.items]
        passed = dict(self._listing.passed)
        for name in sorted(lost):
            above = (f"{folder}/" for folder in PurePosixPath(name).parents)
            why = next((passed[item] for item in (name, *above) if item in passed), None)
            problem = ("passed over", f"named in the labels, and {why}") if why else _labels.absent(name)
            entries.append(Entry(printable(name), name, problem=problem))
        return entries

    def linked(self) -> tuple[Path, ...]:
        return _shared.linked([self._listing])

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        return self._listing.named()

    def _entry(self, name: str, problem: Problem | None, classes: frozenset[str]) -> Entry:
        """One file below the folder."""
        key = printable(name)
        if problem is not None or not classes:
            return Entry(key, name, problem=problem)
        first = key.partition("/")[0]
        if first not in classes or "/" not in key:
            return Entry(key, name, problem=("outside every class folder", "labels: none takes all as unlabelled"))
        return Entry(key, name, first)

    def fetch(self, entry: Entry, limits: Limits) -> bytes | Stored:
        """The file; with captions, these beside it."""
        name = cast(str, entry.where)
        data = _shared.file_bytes(Path(self.config.folder) / name, limits)
        return data if self.config.captions is None else _captions.fetched(data, self._captioned[0][name], self.config)

    def decode(self, stored: bytes | Stored, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored if isinstance(stored, bytes) else stored[0], limits)

    def decode_fields(self, stored: bytes | Stored, limits: Limits) -> dict[str, Array]:
        return {} if isinstance(stored, bytes) else _captions.encoded(stored, self.given)

    @property
    def _csv(self) -> Path | None:
        return None if self.config.labels in ("folders", "none") else Path(self.config.labels)

    @functools.cached_property
    def _captioned(self) -> tuple[dict[str, tuple[Said, ...]], list[str]]:
        """The captions of each file that they mean, and the names in their file that mean none."""
        return _captions.met(_captions.read(self.config), (name for name, _ in self._listing.items))

    @functools.cached_property
    def _listing(self) -> Listing:
        found = _shared.listed(self.config.folder, IMAGES, self.config.links)
        if self._csv is not None:
            own, root = self._csv.resolve(), Path(self.config.folder).resolve()
            found.items = [
                item for item in found.items if item[0].rpartition("/")[2] != own.name or root / item[0] != own
            ]
            found.passed = [
                (item, "the labels") if item.endswith(own.name) and root / item == own else (item, why)
                for item, why in found.passed
            ]
        return found

    @functools.cached_property
    def _labelled(self) -> tuple[dict[str, str], list[str]]:
        """The label of each file that the csv means, and its rows that mean none."""
        return _labels.met(self._rows(), (name for name, _ in self._listing.items), cast(Path, self._csv))

    def _rows(self) -> dict[str, str]:
        return _labels.rows(cast(Path, self._csv), self.config.max_labels_bytes)


def _of_csv(name: str, problem: Problem | None, label: str) -> Entry:
    key = printable(name)
    if problem is not None:
        return Entry(key, name, problem=problem)
    return Entry(key, name, label) if label else Entry(key, name, problem=("no label in the csv", ""))
