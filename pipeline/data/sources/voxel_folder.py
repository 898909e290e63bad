"""A folder of voxel grids (.npy, .npz, .binvox) by class, or one .npz that holds an array of grids for each class."""

from __future__ import annotations

import functools
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits as most
from pipeline.data import notes, voxels
from pipeline.data.kinds import VOXELS
from pipeline.data.source import Entry, Limits, printable
from pipeline.data.sources import _shared
from pipeline.data.sources._labelled_folder import FolderSettings, LabelledFolder
from pipeline.errors import Damaged, Rejected, SettingsError
from pipeline.natural import natural
from pipeline.settings import DataPath
from pipeline.storage import arrays
from pipeline.types import Modality

Side = Annotated[int, Field(ge=1, le=1024)]
TRIED = 8  # files that are opened to learn the shape before ingest, until one is good


class Config(FolderSettings):
    """Where the grids are, where their classes come from, and what becomes of their cells."""

    folder: DataPath = Field(
        description="searched with its sub-folders; or one .npz whose arrays hold the grids of a class each: "
        "(n, D, H, W), or (n, bytes) of packed bits"
    )
    resolution: tuple[Side, Side, Side] | Side | None = Field(
        default=None, description="[depth, height, width], or one side of a cube; null: as the grids, which are equal"
    )
    pool: voxels.Pool = Field(default="max", description="what a cell of a coarser grid is of those in it")
    threshold: float | None = Field(
        default=None, allow_inf_nan=False, description="cells above it are full, all others empty; null: 0 … 1 as it is"
    )
    array: str | None = Field(default=None, description="which array of each .npz; null: its only one")
    max_cells: int = Field(default=most.VOXEL_CELLS, ge=1, description="larger grids are rejected")
    max_unpacked_bytes: int = Field(
        default=most.VOXELS_UNPACKED_BYTES, ge=1, description="one .npz of all classes that holds more is refused"
    )

    @property
    def size(self) -> tuple[int, int, int] | None:
        """(depth, height, width) asked for, if any."""
        asked = self.resolution
        return (asked, asked, asked) if isinstance(asked, int) else asked


class Source(LabelledFolder[Config]):
    """Occupancy (1, D, H, W): 0 empty and 255 full, which are -1 and 1 in batches; classes in natural order."""

    kind = VOXELS

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        grid = np.zeros((4, 4, 4), dtype=bool)
        for label in ("chair", "table"):
            grid[:, 1:3] = True
            (folder / label).mkdir()
            np.save(folder / label / "a.npy", grid)
        (folder / "chair" / "broken.binvox").write_bytes(b"#binvox 1\n")
        return {"folder": str(folder), "resolution": 2}

    @property
    def modality(self) -> Modality:
        return "voxels"

    @property
    def dtype(self) -> Literal["uint8", "float32"]:
        return "uint8"

    def check(self, where: str = "ingest.source") -> None:
        if not self._stacked:
            super().check(where)
            return
        if self._csv is not None:
            raise SettingsError(f"{where}.labels: of an .npz the classes are its arrays; set it to folders, or none")
        if not self._stacks:
            raise SettingsError(
                f"{where}.folder: '{self.config.folder}' holds no array of grids, (n, D, H, W), or of packed "
                "bits (n, bytes)"
            )

    def native_shape(self) -> tuple[int, ...] | None:
        if self.config.size is not None:
            return (1, *self.config.size)
        good = islice((entry for entry in self.entries() if entry.problem is None), TRIED)
        for entry in good:
            try:
                return self.read(entry, Limits()).shape
            except Rejected:
                continue
        return None

    def classes(self) -> tuple[str, ...]:
        if not self._stacked:
            return super().classes()
        return () if self.config.labels == "none" else tuple(map(printable, self._stacks))

    def entries(self) -> list[Entry]:
        if not self._stacked:
            return super().entries()
        labelled = self.config.labels == "folders"
        return [
            Entry(f"{printable(name)}/{index:06d}", (number, index), printable(name) if labelled else None)
            for number, (name, count) in enumerate(self._stacks.items())
            for index in range(count)
        ]

    def linked(self) -> tuple[Path, ...]:
        return () if self._stacked else super().linked()

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        if not self._stacked:
            return super().passed_over()
        return tuple((printable(name), "no array of grids") for name in self._shapes if name not in self._stacks)

    def fetch(self, entry: Entry, limits: Limits) -> tuple[str, Any]:
        if not self._stacked:
            return cast(str, entry.where), super().fetch(entry, limits)
        number, index = cast(tuple[int, int], entry.where)
        name = list(self._stacks)[number]
        stack = _stack(*_shared.identity(Path(self.config.folder)), name, self.config.max_unpacked_bytes)
        return "", np.ascontiguousarray(stack[index])

    def decode(self, stored: tuple[str, Any], limits: Limits) -> NDArray[np.uint8]:
        name, held = stored
        config = self.config
        found = voxels.decode(held, name, config.max_cells, config.array) if name else held
        grid = voxels.occupancy(np.asarray(found), config.max_cells, config.threshold)
        if config.size is not None:
            grid = voxels.pooled(grid, config.size, config.pool)
        if not grid.any():
            notes.leave(notes.EMPTY)
        return np.ascontiguousarray(grid)[None]

    @functools.cached_property
    def _stacked(self) -> bool:
        """Whether all grids are in one file."""
        return Path(self.config.folder).is_file() and self.config.folder.lower().endswith(".npz")

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Of every array of the file, its shape and type.

        Raises:
            SettingsError: if it cannot be read, or would take more memory than is allowed.
        """
        path, allowed = Path(self.config.folder), self.config.max_unpacked_bytes
        try:
            found = arrays.shapes(path)
        except (Damaged, OSError) as error:
            raise SettingsError(f"ingest.source.folder: '{path}' cannot be read ({error})") from None
        size = sum(int(np.prod(shape, dtype=np.float64)) * dtype.itemsize for shape, dtype in found.values())
        if size > allowed:
            raise SettingsError(
                f"ingest.source.max_unpacked_bytes: '{path}' unpacks to {size} bytes, and {allowed} are allowed; "
                "if you trust it, raise it"
            )
        return dict(sorted(found.items(), key=lambda item: natural(item[0])))

    @functools.cached_property
    def _stacks(self) -> dict[str, int]:
        """How many grids each array holds, in natural order of the arrays' names."""
        return {name: shape[0] for name, (shape, dtype) in self._shapes.items() if _holds_grids(shape, dtype)}


def _holds_grids(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    packed = len(shape) == 2 and dtype == np.uint8 and voxels.cube(shape[1]) > 0
    return packed or len(shape) == 4 or (len(shape) == 5 and shape[1] == 1)


@functools.lru_cache(maxsize=4)
def _stack(path: str, _size: int, _changed: int, name: str, allowed: int) -> NDArray[Any]:
    """One array of the file, unpacked once a process.

    Raises:
        Rejected: if it is damaged.
    """
    try:
        return arrays.read_members(Path(path), [name], allowed + voxels.HEADER)[0][name]
    except (Damaged, KeyError, OSError) as error:
        raise Rejected("damaged grid", f"the array '{name}' cannot be read ({error})") from None
