"""Parquet files with a column of images, as hubs ship them: the stored bytes of JPEG, PNG or WebP files.

The column holds bytes, or a struct with the field `bytes`. A label is a whole number, with the names that the Hugging
Face hub's description gives, or text.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits
from pipeline.captions import FIELD
from pipeline.data import images, listing
from pipeline.data.kinds import PARQUET
from pipeline.data.listing import Listing
from pipeline.data.source import DataSource, Entry, Limits, Problem, printable
from pipeline.data.sources import _captions, _shared, _tables
from pipeline.data.sources._captions import CaptionKeys, Stored
from pipeline.data.sources._tables import Head
from pipeline.errors import Damaged, Rejected, SettingsError, UserError
from pipeline.natural import natural
from pipeline.redaction import visible
from pipeline.settings import DataPath
from pipeline.types import Array

USUAL_LABELS = ("label", "labels", "class", "category")
UNNAMED = "not named by the pattern"
LABEL_CHARACTERS = 1000


class Config(CaptionKeys):
    """Which files, and which of their columns."""

    path: DataPath = Field(description="a .parquet file, or a folder of them")
    pattern: str | tuple[str, ...] = Field(
        default="*", description="which files of the folder, such as train-* or data/train-*: one or a list"
    )
    image: str | None = Field(default=None, description="the column of images; null: the only one that can be")
    label: str | None = Field(
        default=None, description="the column of labels; none: unlabelled; null: the only one that seems to be, if any"
    )
    captions: str | None = Field(default=None, description="the column of captions, text or lists of text; null: none")
    max_captions_bytes: int = Field(
        default=limits.CAPTIONS_BYTES, ge=1, description="of a file, a larger column of captions is refused"
    )
    links: _shared.LinksSetting = Field(default="auto", description=f"of a folder, {_shared.LINKS}")
    max_items: int = Field(default=limits.IDX_ITEMS, ge=1, description="no more rows are read")
    max_unpacked_bytes: int | None = Field(
        default=None,
        ge=1,
        description="the images of a file may not take more; null: 1 GiB, or four times the file's size",
    )


class Source(DataSource[Config]):
    """Every row, files in natural order of their names; classes by their numbers, or in natural order."""

    paths = ("path",)
    offered: ClassVar[Mapping[str, str]] = {FIELD: "captions: COLUMN"}

    def __init__(self, given: Config) -> None:
        super().__init__(given)
        self.fields = _captions.field(given, given.captions is not None)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        import io

        import pyarrow as pa
        from PIL import Image
        from pyarrow import parquet

        file = io.BytesIO()
        Image.new("RGB", (4, 5), (1, 2, 3)).save(file, "PNG")
        table = pa.table({"image": [file.getvalue(), b"", None, file.getvalue()], "label": ["b", "b", "a", "a"]})
        parquet.write_table(table, folder / "x.parquet")
        return {"path": str(folder / "x.parquet")}

    def check(self, where: str = "ingest.source") -> None:
        config = self.config
        path = Path(config.path)
        if not path.is_dir():
            _shared.require_file(config.path, f"{where}.path")
        _shared.require_links(config.links, where)
        if path.is_dir():
            _shared.require_items(self._listing, path, f"{where}.path")
            broken = [(name, problem) for name, problem in self._listing.items if problem is not None]
            if broken:
                name, (reason, detail) = broken[0]
                told = f" ({detail})" if detail else ""
                raise SettingsError(f"{where}.path: {printable(name)}, of many rows, cannot be read: {reason}{told}")
            if not self._files:
                first = printable(self._listing.items[0][0])
                raise SettingsError(f"{where}.pattern: '{config.pattern}' names no file, such as '{first}'")
        self._refuse_splits(where)
        rows = sum(head.rows for head in self._heads)
        if rows > config.max_items:
            raise UserError(
                f"{path} holds {rows} rows, allowed are {config.max_items}; if you trust it, raise max_items"
            )
        _ = (self._image, self._label)  # which columns
        captions, known = config.captions, list(self._heads[0].texts)
        if captions is not None and captions not in known:
            raise SettingsError(_no_column("captions", captions, known, "of text, or of lists of text"))

    def classes(self) -> tuple[str, ...]:
        label = self._label
        if label is None:
            return ()
        names = self._heads[0].names.get(label)
        return names or tuple(sorted({found for found, _ in self._labels if found is not None}, key=natural))

    def entries(self) -> list[Entry]:
        found: list[Entry] = []
        labels = iter(self._labels if self._label else ())
        for number, (name, head) in enumerate(zip(self._files, self._heads, strict=True)):
            stem = printable(name.removesuffix(".parquet"))
            for row in range(head.rows):
                label, problem = next(labels) if self._label else (None, None)
                found.append(Entry(f"{stem}/{row:07d}", (number, row), None if problem else label, problem))
        return found

    def linked(self) -> tuple[Path, ...]:
        return _shared.linked([self._listing]) if Path(self.config.path).is_dir() else ()

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        left = [(printable(name), UNNAMED) for name, _ in self._listing.items if name not in self._files]
        return tuple(sorted((*self._listing.named(), *left)))

    def describe(self) -> dict[str, Any]:
        return _captions.described(super().describe())

    def fetch(self, entry: Entry, limits: Limits) -> bytes | Stored:
        """The image's file; with captions, those of the row beside it."""
        data = self._image_of(entry, limits)
        captions, most = self.config.captions, self.config.max_captions_bytes
        if captions is None:
            return data
        number, row = cast(tuple[int, int], entry.where)
        return _captions.own(data, _tables.sentences(self._path(number), captions, most)[row])

    def _image_of(self, entry: Entry, limits: Limits) -> bytes:
        number, row = cast(tuple[int, int], entry.where)
        column = self._heads[0].images[self._image]
        try:
            found = _tables.value(self._path(number), column, row, self.config.max_unpacked_bytes, limits.max_bytes)
        except (Damaged, OSError) as error:
            raise Rejected("cannot be read", str(error)) from None
        if found is None:
            raise Rejected("no image in the row")
        if isinstance(found, int):
            raise Rejected("too many bytes", f"{found}, allowed are {limits.max_bytes}")
        return found

    def decode(self, stored: bytes | Stored, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored if isinstance(stored, bytes) else stored[0], limits)

    def decode_fields(self, stored: bytes | Stored, limits: Limits) -> dict[str, Array]:
        return {} if isinstance(stored, bytes) else _captions.encoded(stored, self.given)

    # --- files --------------------------------------------------------------------------------------

    @functools.cached_property
    def _listing(self) -> Listing:
        path = Path(self.config.path)
        if path.is_dir():
            return _shared.listed(self.config.path, PARQUET, self.config.links)
        return Listing(PARQUET, [(path.name, None)])

    @functools.cached_property
    def _files(self) -> list[str]:
        """The names of the files that are read."""
        names = [name for name, problem in self._listing.items if problem is None]
        patterns = (self.config.pattern,) if isinstance(self.config.pattern, str) else self.config.pattern
        if Path(self.config.path).is_dir():
            names = [name for name in names if any(_named(name, pattern) for pattern in patterns)]
        return sorted(names, key=natural)

    def _path(self, number: int) -> Path:
        path = Path(self.config.path)
        return path / self._files[number] if path.is_dir() else path

    @functools.cached_property
    def _heads(self) -> list[Head]:
        """What the footers say, which must agree.

        Raises:
            UserError: if one is damaged.
            SettingsError: if they differ.
        """
        heads = [_tables.head(self._path(number)) for number in range(len(self._files))]
        for name, head in zip(self._files, heads, strict=True):
            if (head.images, head.labels, head.names, head.texts) != (
                heads[0].images,
                heads[0].labels,
                heads[0].names,
                heads[0].texts,
            ):
                raise SettingsError(
                    f"ingest.source.path: {printable(self._files[0])} and {printable(name)} have other columns; set "
                    "pattern: to those that belong together"
                )
        return heads

    def _refuse_splits(self, where: str) -> None:
        splits = {split: name for name in reversed(self._files) if (split := _split(name))}
        if len(splits) < 2:
            return
        best = next((split for split in sorted(splits) if split.startswith("train")), min(splits))
        pattern = f"{splits[best].rpartition(best)[0]}{best}*"
        raise SettingsError(
            f"{where}.pattern: '{self.config.path}' holds splits of one data set: {', '.join(sorted(splits))}; name "
            f"one of them, such as pattern: {printable(pattern)} (ingest cuts its own holdout from it)"
        )

    # --- columns ------------------------------------------------------------------------------------

    @functools.cached_property
    def _image(self) -> str:
        head = self._heads[0]
        known = list(head.images)
        if self.config.image is not None:
            if self.config.image not in head.images:
                raise SettingsError(_no_column("image", self.config.image, known, "of bytes"))
            return self.config.image
        found = list(head.preferred) or known
        if len(found) != 1:
            raise SettingsError(_no_column("image", None, found, "of bytes"))
        return found[0]

    @functools.cached_property
    def _label(self) -> str | None:
        head = self._heads[0]
        if self.config.label == "none":
            return None
        if self.config.label is not None:
            if self.config.label not in head.labels:
                raise SettingsError(
                    _no_column("label", self.config.label, list(head.labels), "of whole numbers or text")
                )
            return self.config.label
        found = [name for name in head.labels if name in head.names]
        found = found or [name for name in head.labels if name.lower() in USUAL_LABELS]
        if len(found) > 1:
            raise SettingsError(f"{_no_column('label', None, found, 'of labels')}; or label: none")
        return found[0] if found else None

    @functools.cached_property
    def _labels(self) -> list[tuple[str | None, Problem | None]]:
        """Of every row its class, or why it has none."""
        label = cast(str, self._label)
        names = self._heads[0].names.get(label)
        return [
            _class(value, names)
            for number in range(len(self._files))
            for value in _tables.labels(self._path(number), label)
        ]


def _class(value: int | str | None, names: tuple[str, ...] | None) -> tuple[str | None, Problem | None]:
    if value is None or value == "" or (value == -1 and names):  # -1: the hub's sign for none
        return None, ("no label in the row", "")
    if isinstance(value, str):
        text = visible(value, lines=False)
        return (text, None) if len(text) <= LABEL_CHARACTERS else (None, ("unknown label", f"{len(text)} characters"))
    if names is None:
        return str(value), None
    if not 0 <= value < len(names):
        return None, ("unknown label", f"{value}, and there are {len(names)} classes")
    return names[value], None


def _named(name: str, pattern: str) -> bool:
    """Whether a pattern names a file: by its whole name below the folder, or its last part."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.rpartition("/")[2], pattern)


def _split(name: str) -> str:
    """The split that a file says it is of, by its name (`test-00000-of-00002.parquet`) or a folder's."""
    path = PurePosixPath(name)
    parts = (path.stem.partition("-")[0], *reversed(path.parts[:-1]))
    return next((part for part in parts if listing.are_splits([part])), "")


def _no_column(key: str, given: str | None, known: list[str], what: str) -> str:
    shown = ", ".join(map(printable, known[:8])) + (", …" if len(known) > 8 else "")
    held = f"there are {shown}" if known else "there is none"
    if given is not None:
        return f"ingest.source.{key}: there is no column '{given}' {what}; {held}"
    return f"ingest.source.{key}: which column? Of those {what}, {held}"
