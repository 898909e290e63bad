"""A zip or tar archive of JPEG, PNG or WebP images; classes are its folders, or stand in a csv or in `dataset.json`.

Names and labels follow the rules of `image_folder`. Items are read one by one where they lie, so that any number of
workers reads the archive at once; a compressed tar is unpacked once into this machine's cache first.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits
from pipeline.data import images
from pipeline.data.kinds import FIRST
from pipeline.data.source import DataSource, Entry, Limits, Problem, printable
from pipeline.data.sources import _caption_files, _captions, _labels, _members, _shared
from pipeline.data.sources._archived import DATASET, Held, held
from pipeline.data.sources._caption_files import Captions, Said
from pipeline.data.sources._captions import CaptionSettings, Stored
from pipeline.data.sources._members import Member
from pipeline.errors import Damaged, Rejected, SettingsError
from pipeline.natural import natural
from pipeline.settings import DataPath
from pipeline.storage.damage import parse_json
from pipeline.types import Array

WORDS = ("auto", "folders", "none")
NO_LABEL = {DATASET: "no label in dataset.json", "": "no label in the csv"}


class Config(CaptionSettings):
    """Which archive, what of it, and where the classes come from."""

    path: DataPath = Field(description="a .zip, .tar, .tar.gz, .tar.bz2, .tar.xz or .tar.zst")
    folder: str | None = Field(
        default=None, description="read what is below this folder of it; null: all, without a folder that holds all"
    )
    labels: DataPath = Field(
        default="auto",
        description="auto: what dataset.json says (as StyleGAN's tools write it), or else as `folders`; folders: the "
        "first sub-folder names the class; none: unlabelled; else a csv with the columns file (relative to the folder) "
        "and label: a file, or a member of the archive",
    )
    max_labels_bytes: int = Field(default=limits.CSV_BYTES, ge=1, description="a larger csv is refused")
    max_members: int = Field(default=limits.ARCHIVE_ITEMS, ge=1, description="an archive of more is refused")
    max_unpacked_bytes: int | None = Field(
        default=None, ge=1, description="a compressed tar may not unpack to more; null: 1 GiB, or four times its size"
    )


class Source(DataSource[Config]):
    """Every image of the archive, in the order of the names' bytes; classes in natural order (2 before 10)."""

    paths = ("path", "labels", "captions", "caption_vectors")
    offered = _captions.OFFERED

    def __init__(self, given: Config) -> None:
        super().__init__(given)
        self.fields = _captions.fields(given)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        import io
        import zipfile

        from PIL import Image

        file = io.BytesIO()
        Image.new("RGB", (4, 5), (1, 2, 3)).save(file, "PNG")
        with zipfile.ZipFile(folder / "x.zip", "w") as archive:
            for name, data in {"a/x.png": file.getvalue(), "b/x.png": file.getvalue(), "b/broken.png": b""}.items():
                archive.writestr(name, data)
        return {"path": str(folder / "x.zip")}

    def check(self, where: str = "ingest.source") -> None:
        config = self.config
        _shared.require_file(config.path, f"{where}.path")
        held = self._held
        if config.folder is not None and not held.listing.items and not held.listing.passed:
            there = sorted({name.partition("/")[0] for name in held.members if "/" in name}, key=natural)
            known = f"; there are {', '.join(map(printable, there[:8]))}" if there else ", nor any other"
            raise SettingsError(f"{where}.folder: '{config.path}' holds no folder '{config.folder}'{known}")
        _shared.require_items(held.listing, f"{config.path}{f'/{held.root}' if held.root else ''}", f"{where}.path")
        if self._table is None:
            _shared.refuse_splits(held.listing, config.path, where, above=held.root.rstrip("/"))
        elif self._table.rows and not self._labelled[0]:
            files = [name for name, _ in held.listing.items]
            raise _labels.never_met(self._table.rows, files, Path(self._table.name), config.path)
        if config.captions is not None:
            _captions.check_vectors(config, self._said, where)
            if not self._captioned[0]:
                files = [name for name, _ in held.listing.items]
                raise _captions.never_met(self._said, files, config, config.path)

    def classes(self) -> tuple[str, ...]:
        if self._table is not None:
            return tuple(sorted(set(self._table.rows.values()) - {""}, key=natural))
        if self.config.labels == "none" or self._unlabelled:
            return ()
        return tuple(sorted(map(printable, self._held.listing.folders), key=natural))

    def entries(self) -> list[Entry]:
        named = self._named_entries()
        if self.config.captions is None:
            return [entry for _, entry in named]
        return _captions.matched(named, *self._captioned, self.config)

    def _named_entries(self) -> list[tuple[str, Entry]]:
        """Entries with the names of their files."""
        held, table = self._held, self._table
        if table is None:
            classes = frozenset(self.classes())
            return [(name, self._by_folder(name, problem, classes)) for name, problem in held.listing.items]
        labels, lost = self._labelled
        found = [(name, self._of_table(name, problem, labels.get(name, ""))) for name, problem in held.listing.items]
        passed = dict(held.listing.passed)
        for name in sorted(lost):
            problem = ("passed over", f"named in the labels, and {passed[name]}") if name in passed else None
            found.append((name, Entry(printable(name), name, problem=problem or _labels.absent(name))))
        return found

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        names = {} if self._table is None else {printable(self._table.name.removeprefix(self._held.root)): "the labels"}
        if self.config.captions is not None:
            names[printable(self.config.captions.removeprefix(self._held.root))] = "the captions"
        return tuple((item, names.get(item, why)) for item, why in self._held.listing.named())

    def named(self) -> dict[str, str]:
        """The archive, and the tables beside it, but not those that are in it."""
        named = super().named()
        within = [key for key in ("labels", "captions") if key in named and not os.path.lexists(named[key])]
        return {key: path for key, path in named.items() if key not in within}

    def describe(self) -> dict[str, Any]:
        return _captions.described(super().describe())

    def fetch(self, entry: Entry, limits: Limits) -> bytes | Stored:
        """The member; with captions, these beside it."""
        place = cast(tuple[int, ...], entry.where)
        data = _members.read(Path(self.config.path), place, self._caps, limits)
        return data if self.config.captions is None else _captions.fetched(data, self._said_at[place], self.config)

    def decode(self, stored: bytes | Stored, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored if isinstance(stored, bytes) else stored[0], limits)

    def decode_fields(self, stored: bytes | Stored, limits: Limits) -> dict[str, Array]:
        return {} if isinstance(stored, bytes) else _captions.encoded(stored, self.given)

    @property
    def _caps(self) -> _members.Caps:
        return _members.Caps(self.config.max_members, self.config.max_unpacked_bytes)

    @functools.cached_property
    def _held(self) -> Held:
        members = _members.listed(Path(self.config.path), self._caps)
        return held(members, self.config.folder, self._first)

    def _first(self, member: Member) -> bytes:
        """The first bytes of a member whose name does not say what it is; none of one that cannot be read."""
        try:
            return _members.read(Path(self.config.path), member.place, self._caps, Limits())[:FIRST]
        except Rejected:
            return b""

    def _where(self, name: str) -> tuple[int, ...]:
        return self._held.members[self._held.root + name].place

    def _by_folder(self, name: str, problem: Problem | None, classes: frozenset[str]) -> Entry:
        key = printable(name)
        if problem is not None:
            return Entry(key, name, problem=problem)
        first = key.partition("/")[0]
        if classes and (first not in classes or "/" not in key):
            return Entry(key, name, problem=("outside every class folder", "labels: none takes all as unlabelled"))
        return Entry(key, self._where(name), first if classes else None)

    def _of_table(self, name: str, problem: Problem | None, label: str) -> Entry:
        key = printable(name)
        if problem is not None:
            return Entry(key, name, problem=problem)
        if not label:
            return Entry(key, name, problem=(self._no_label, ""))
        return Entry(key, self._where(name), label)

    @property
    def _no_label(self) -> str:
        return NO_LABEL[DATASET if self.config.labels == "auto" else ""]

    # --- labels that stand in a file ----------------------------------------------------------------

    @functools.cached_property
    def _dataset(self) -> dict[str, str] | None:
        """The labels of dataset.json: empty where it has none, None where the file is not used.

        Raises:
            SettingsError: if `labels` asks for it, and it cannot be read.
        """
        member = self._held.members.get(self._held.root + DATASET)
        if self.config.labels != "auto" or member is None or member.problem is not None:
            return None
        shown = f"{DATASET} of {self.config.path}"
        try:
            data = _members.read(Path(self.config.path), member.place, self._caps, Limits(limits.JSON_BYTES))
            return _labels.of_dataset(parse_json(data))
        except (Rejected, Damaged) as error:
            raise SettingsError(
                f"ingest.source.labels: {shown} cannot be used ({error}); set labels: folders or none"
            ) from None

    @property
    def _unlabelled(self) -> bool:
        return self._dataset == {}

    @functools.cached_property
    def _table(self) -> _Table | None:
        """The csv or dataset.json that gives the classes.

        Raises:
            SettingsError: if `labels` names neither a file nor a member that can be read.
        """
        config = self.config
        if config.labels in WORDS:
            return _Table(DATASET, self._dataset) if self._dataset else None
        if os.path.lexists(config.labels):
            _shared.require_file(config.labels, "ingest.source.labels")
            return _Table(config.labels, _labels.rows(Path(config.labels), config.max_labels_bytes))
        name, data = self._table_of("labels", config.labels, config.max_labels_bytes)
        return _Table(name, _labels.parsed(data, f"{name} of {config.path}"))

    def _table_of(self, key: str, given: str, max_bytes: int) -> tuple[str, bytes]:
        """The name and the bytes of a member that a setting names.

        Raises:
            SettingsError: if there is no such member, or it cannot be read.
        """
        config, held = self.config, self._held
        member = held.members.get(held.root + given) or held.members.get(given)
        if member is None:
            raise SettingsError(
                f"ingest.source.{key}: '{given}' is neither a file (paths are relative to {Path.cwd()}) nor a "
                f"member of {config.path}"
            )
        about = f"ingest.source.{key}: {member.name} of {config.path}"
        if member.problem is not None:
            raise SettingsError(f"{about}: {member.problem[0]}")
        try:
            return member.name, _members.read(Path(config.path), member.place, self._caps, Limits(max_bytes))
        except Rejected as error:
            raise SettingsError(f"{about}: {error.reason}") from None

    @functools.cached_property
    def _said(self) -> Captions:
        """The captions that the settings name, by file.

        Raises:
            SettingsError: if they name neither a file nor a member that holds captions.
        """
        config, given = self.config, cast(str, self.config.captions)
        if os.path.lexists(given):
            _shared.require_file(given, "ingest.source.captions")
            return _captions.read(config)
        name, data = self._table_of("captions", given, config.max_captions_bytes)
        return _caption_files.parsed(data, name, f"{name} of {config.path}")

    @functools.cached_property
    def _captioned(self) -> tuple[dict[str, tuple[Said, ...]], list[str]]:
        """The captions of each item that they mean, and the names in their file that mean none."""
        return _captions.met(self._said, (name for name, _ in self._held.listing.items))

    @functools.cached_property
    def _said_at(self) -> dict[tuple[int, ...], tuple[Said, ...]]:
        """The captions of each item by its place."""
        broken = {name for name, problem in self._held.listing.items if problem is not None}
        return {self._where(name): said for name, said in self._captioned[0].items() if name not in broken}

    @functools.cached_property
    def _labelled(self) -> tuple[dict[str, str], list[str]]:
        """The label of each file that the table means, and its rows that mean none."""
        table = cast(_Table, self._table)
        return _labels.met(table.rows, (name for name, _ in self._held.listing.items), Path(table.name))


@dataclass(frozen=True)
class _Table:
    """A file of labels: its name, and file → label."""

    name: str
    rows: dict[str, str]
