"""A folder of files, each an item; classes are its sub-folders, or stand in a csv."""

from __future__ import annotations

import functools
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeVar, cast

from pydantic import Field

from pipeline import limits
from pipeline.data.kinds import Kind
from pipeline.data.listing import Listing
from pipeline.data.source import DataSource, Entry, Limits, Problem, printable
from pipeline.data.sources import _labels, _shared
from pipeline.natural import natural
from pipeline.settings import DataPath, Settings


class FolderSettings(Settings):
    """Where the files are and where their classes come from."""

    folder: DataPath = Field(description="searched with its sub-folders")
    labels: DataPath = Field(
        default="folders",
        description="folders: the first sub-folder names the class (without sub-folders: unlabelled); "
        "none: unlabelled; else a csv file with the columns file (relative to the folder) and label",
    )
    links: _shared.LinksSetting = Field(default="auto", description=_shared.LINKS)
    max_labels_bytes: int = Field(default=limits.CSV_BYTES, ge=1, description="a larger csv is refused")


F = TypeVar("F", bound=FolderSettings)


class LabelledFolder(DataSource[F]):
    """Every file of one kind below the folder, by the paths' bytes; classes in natural order (2 before 10).

    kind: which files are items.
    """

    paths = ("folder", "labels")
    kind: ClassVar[Kind]

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

    def classes(self) -> tuple[str, ...]:
        return self.labels_found()

    def labels_found(self) -> tuple[str, ...]:
        """The labels that folders or the csv name, in natural order; nothing where they name none."""
        if self._csv is not None:
            return tuple(sorted(set(self._rows().values()) - {""}, key=natural))
        if self.config.labels == "none":
            return ()
        return tuple(sorted(map(printable, self._listing.folders), key=natural))

    def entries(self) -> list[Entry]:
        classes = frozenset(self.labels_found())
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

    def fetch(self, entry: Entry, limits: Limits) -> Any:
        return _shared.file_bytes(Path(self.config.folder) / cast(str, entry.where), limits)

    @property
    def _csv(self) -> Path | None:
        return None if self.config.labels in ("folders", "none") else Path(self.config.labels)

    def _found(self) -> Listing:
        """The items below the folder, before any csv."""
        return _shared.listed(self.config.folder, self.kind, self.config.links)

    @functools.cached_property
    def _listing(self) -> Listing:
        found = self._found()
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
