"""A folder of JPEG, PNG or WebP images; classes are its sub-folders, or stand in a csv."""

from __future__ import annotations

import csv
import functools
import io
import os
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.data import images
from pipeline.data.source import DataSource, Entry, Limits, printable
from pipeline.data.sources import _shared
from pipeline.settings import Settings, SettingsError

Problem = _shared.Problem


class Config(Settings):
    """Where the images are and where their classes come from."""

    folder: str = Field(description="searched with its sub-folders")
    labels: str = Field(
        default="folders",
        description="folders: the first sub-folder names the class (without sub-folders: unlabelled); "
        "none: unlabelled; else a csv file with the columns file (relative to the folder) and label",
    )


class Source(DataSource[Config]):
    """Every file below the folder, sorted by path; what is no image is set aside when it is read."""

    paths = ("folder", "labels")

    def check(self, where: str = "ingest.source") -> None:
        _shared.require_folder(self.config.folder, f"{where}.folder")
        if not any(Path(self.config.folder).iterdir()):
            raise SettingsError(f"{where}.folder: '{self.config.folder}' is empty")
        if self._csv is not None:
            _shared.require_file(self.config.labels, f"{where}.labels")
            _labels(*_shared.identity(self._csv))

    def classes(self) -> tuple[str, ...]:
        if self._csv is not None:
            return tuple(sorted(set(_labels(*_shared.identity(self._csv)).values()) - {""}))
        if self.config.labels == "none":
            return ()
        root = Path(self.config.folder)
        return tuple(sorted(printable(child.name) for child in root.iterdir() if _holds_files(child)))

    def entries(self) -> list[Entry]:
        classes = frozenset(self.classes())
        skipped = self._csv.resolve() if self._csv else None
        root = Path(self.config.folder).resolve()
        found = sorted(_shared.walk(root, root), key=lambda item: os.fsencode(item[0]))
        listed = _labels(*_shared.identity(self._csv)) if self._csv else None
        entries = [self._entry(name, problem, classes, listed) for name, problem in found if root / name != skipped]
        if listed is not None:
            present = {name for name, _ in found}
            missing = sorted(set(listed) - present)
            entries += [Entry(name, name, problem=_absent(name)) for name in missing]
        return entries

    def _entry(
        self, name: str, problem: Problem | None, classes: frozenset[str], listed: dict[str, str] | None
    ) -> Entry:
        """One file below the folder; `listed` holds the labels of the csv, if there is one."""
        key = printable(name)
        if problem is not None:
            return Entry(key, name, problem=problem)
        if listed is not None:
            label = listed.get(name, "")
            return Entry(key, name, label) if label else Entry(key, name, problem=("no label in the csv", ""))
        if not classes:
            return Entry(key, name)
        first = key.partition("/")[0]
        if first not in classes:
            return Entry(key, name, problem=("outside every class folder", "labels: none takes all as unlabelled"))
        return Entry(key, name, first)

    def fetch(self, entry: Entry, limits: Limits) -> bytes:
        return _shared.file_bytes(Path(self.config.folder) / cast(str, entry.where), limits)

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored, limits)

    @property
    def _csv(self) -> Path | None:
        return None if self.config.labels in ("folders", "none") else Path(self.config.labels)


def _holds_files(folder: Path) -> bool:
    """Whether a folder can be a class: it holds something at any depth, and is neither hidden nor a link."""
    if folder.name.startswith("."):
        return False
    return folder.is_dir() and not folder.is_symlink() and any(files for _, _, files in os.walk(folder))


def _absent(name: str) -> Problem:
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts
    return ("path leaving the folder", "named in the labels") if outside else ("missing file", "named in the labels")


@functools.lru_cache(maxsize=4)
def _labels(path: str, _size: int, _changed: int) -> dict[str, str]:
    """File → label of a csv with these two columns.

    Raises:
        SettingsError: if it is no such csv, or gives one file two labels.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"ingest.source.labels: {path} is no csv in UTF-8 ({error})") from None
    columns = reader.fieldnames or []
    if "file" not in columns or "label" not in columns:
        raise SettingsError(f"ingest.source.labels: {path} needs the columns file,label, not {','.join(columns)}")
    labels: dict[str, str] = {}
    for row in rows:
        name = PurePosixPath((row["file"] or "").strip()).as_posix()
        label = (row["label"] or "").strip()
        if labels.setdefault(name, label) != label:
            raise SettingsError(
                f"ingest.source.labels: {path} gives '{name}' two labels, '{labels[name]}' and '{label}'"
            )
    if not labels:
        raise SettingsError(f"ingest.source.labels: {path} holds no rows")
    return labels
