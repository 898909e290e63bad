"""MNIST's idx files, plain or gzipped: MNIST, Fashion-MNIST, KMNIST and whatever else uses the layout.

Layout: two zero bytes, a type byte (8 = uint8), the number of dimensions, each dimension as a
big-endian uint32, then the values (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline import limits
from pipeline.data.source import DataSource, Entry, Limits
from pipeline.data.sources import _shared
from pipeline.errors import Rejected, SettingsError, UserError
from pipeline.settings import DataPath, Settings

PARTS = {"train": ("train",), "t10k": ("t10k",), "all": ("train", "t10k")}


class Config(Settings):
    """Either a folder with the official names, or the files themselves."""

    folder: DataPath | None = Field(default=None, description="holds train-images-idx3-ubyte(.gz) and so on")
    part: Literal["train", "t10k", "all"] = Field(default="train", description="which files of the folder")
    images: DataPath | None = Field(default=None, description="one images file, in place of a folder")
    labels: DataPath | None = Field(default=None, description="its labels file; null: unlabelled")
    classes: tuple[str, ...] | None = Field(default=None, description="class names by number; null: the numbers")
    max_unpacked_bytes: int = Field(default=limits.IDX_UNPACKED_BYTES, ge=1, description="no file may unpack to more")
    max_items: int = Field(default=limits.IDX_ITEMS, ge=1, description="no file may hold more examples")

    @model_validator(mode="after")
    def _one_way(self) -> Config:
        if (self.folder is None) == (self.images is None):
            raise ValueError("give either 'folder' or 'images'")
        if self.labels is not None and self.images is None:
            raise ValueError("'labels' goes with 'images'; in a folder they are found by name")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("'classes' must be different names")
        return self


class Source(DataSource[Config]):
    """uint8 images (n, H, W) or (n, H, W, C), in the order of the files."""

    paths = ("folder", "images", "labels")

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        import gzip

        (folder / "images.gz").write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 5) + bytes(range(40))))
        (folder / "labels").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 2) + b"\1\0")
        return {"images": str(folder / "images.gz"), "labels": str(folder / "labels")}

    def check(self, where: str = "ingest.source") -> None:
        if self.config.folder is not None:
            _shared.require_folder(self.config.folder, f"{where}.folder")
            for part in PARTS[self.config.part]:
                for kind in ("images-idx3", "labels-idx1"):
                    if _official(self.config.folder, part, kind) is None:
                        name, folder = f"{part}-{kind}-ubyte", Path(self.config.folder)
                        below = sorted(each for each in (*folder.glob("*"), *folder.glob("*/*")) if each.is_dir())
                        held = next((each for each in below if _official(str(each), part, kind)), None)
                        advice = f"; '{held}' does: set folder: {held}" if held else ""
                        raise SettingsError(f"{where}.folder: '{folder}' holds no {name} or {name}.gz{advice}")
        if self.config.images is not None:
            _shared.require_file(self.config.images, f"{where}.images")
        if self.config.labels is not None:
            _shared.require_file(self.config.labels, f"{where}.labels")

    def native_shape(self) -> tuple[int, int, int]:
        height, width, channels = self._parts[0].image_shape
        return channels, height, width

    def classes(self) -> tuple[str, ...]:
        if self.config.classes is not None:
            return self.config.classes
        tops = [int(part.labels.max()) for part in self._parts if part.labels is not None and len(part.labels)]
        return tuple(str(number) for number in range(max(tops) + 1)) if tops else ()

    def entries(self) -> list[Entry]:
        classes = self.classes()
        return [
            self._entry(number, part, item, classes)
            for number, part in enumerate(self._parts)
            for item in range(len(part.images))
        ]

    def _entry(self, number: int, part: _Part, item: int, classes: tuple[str, ...]) -> Entry:
        key, where = f"{part.name}/{item:06d}", (number, item)
        if part.labels is None:
            return Entry(key, where)
        label = int(part.labels[item])
        if label >= len(classes):
            return Entry(key, where, problem=("unknown label", f"{label}, and there are {len(classes)} classes"))
        return Entry(key, where, classes[label])

    def fetch(self, entry: Entry, limits: Limits) -> NDArray[np.uint8]:
        number, item = cast(tuple[int, int], entry.where)
        part = self._parts[number]
        height, width, channels = part.image_shape
        if height * width > limits.max_pixels:
            raise Rejected("too many pixels", f"{width}×{height}, allowed are {limits.max_pixels}")
        return part.images[item].reshape(height, width, channels)

    def decode(self, stored: NDArray[np.uint8], limits: Limits) -> NDArray[np.uint8]:
        return stored

    @functools.cached_property
    def _parts(self) -> list[_Part]:
        limit = (self.config.max_unpacked_bytes, self.config.max_items)
        if self.config.folder is None:
            return [
                _part(Path(str(self.config.images)), Path(self.config.labels) if self.config.labels else None, limit)
            ]
        self.check()
        pairs = [
            (_official(self.config.folder, part, "images-idx3"), _official(self.config.folder, part, "labels-idx1"))
            for part in PARTS[self.config.part]
        ]
        return [_part(images, labels, limit) for images, labels in pairs if images is not None]


@dataclass(frozen=True)
class _Part:
    """One pair of files: images (n, H, W[, C]) and labels (n,)."""

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, *channels = self.images.shape[1:]
        return height, width, channels[0] if channels else 1


def _official(folder: str, part: str, kind: str) -> Path | None:
    """The file with its official name; some mirrors write a dot before `idx`."""
    stems = (f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-idx', '.idx')}-ubyte")
    candidates = [Path(folder) / f"{stem}{suffix}" for stem in stems for suffix in ("", ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def _part(images: Path, labels: Path | None, limit: tuple[int, int]) -> _Part:
    return _cached(images, labels, limit, _shared.identity(images), _shared.identity(labels) if labels else None)


@functools.lru_cache(maxsize=8)
def _cached(
    images: Path, labels: Path | None, limit: tuple[int, int], *_identities: tuple[str, int, int] | None
) -> _Part:
    """Parsed once a process; the identities make a changed file another entry.

    Raises:
        UserError: if files do not fit each other, or hold something else than images.
    """
    pictures = _array(images, (3, 4), limit)
    if pictures.ndim == 4 and pictures.shape[3] not in (1, 3, 4):
        raise UserError(f"{images} holds images of {pictures.shape[3]} channels; 1, 3 and 4 are known")
    numbers = _array(labels, (1,), limit) if labels else None
    if numbers is not None and len(numbers) != len(pictures):
        raise UserError(f"{images} holds {len(pictures)} images, but {labels} {len(numbers)} labels")
    return _Part(images.name.partition("-images")[0].partition(".")[0], pictures, numbers)


def _array(path: Path, dimensions: tuple[int, ...], limit: tuple[int, int]) -> NDArray[np.uint8]:
    """The values of an idx file, mapped. limit: bytes once unpacked, and examples.

    Raises:
        UserError: if it is no idx file of uint8 with so many dimensions, or longer or shorter than it says.
    """
    data = _shared.unzipped(path, limit[0])
    if len(data) < 4 or data[0] or data[1]:
        raise UserError(f"{path} is no idx file: it does not begin with two zero bytes")
    if data[2] != 8 or data[3] not in dimensions:
        known = " or ".join(map(str, dimensions))
        raise UserError(f"{path} holds type {data[2]} in {data[3]} dimensions; uint8 (8) in {known} is read")
    start = 4 + 4 * int(data[3])
    shape: tuple[int, ...] = struct.unpack(f">{data[3]}I", data[4:start].tobytes()) if len(data) >= start else ()
    if math.prod(shape) != len(data) - start or 0 in shape[1:]:
        raise UserError(f"{path} is cut short or damaged: its header says {shape}, {len(data) - start} values follow")
    if len(array := data[start:].reshape(shape)) > limit[1]:
        raise UserError(f"{path} holds {len(array)} examples, allowed are {limit[1]}; if you trust it, raise max_items")
    return array
