"""Data: a folder of shards, made by `ingest` or opened by `open_data`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.api._pictures import as_grid
from pipeline.data import packing
from pipeline.data.batches import Reader
from pipeline.data.settings import IngestSettings
from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.reference import Reference
from pipeline.formats.shards import Manifest
from pipeline.scoring.extract import ShardExamples
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import ReferenceSettings
from pipeline.settings import validate
from pipeline.storage import files
from pipeline.types import DataSpec

WORK = Path(".work")


@dataclass(frozen=True)
class Data:
    """Shards in `folder`, with their manifest: what `train` learns from and `score` compares with."""

    folder: Path

    @cached_property
    def manifest(self) -> Manifest:
        """What the shards hold: splits, classes, hashes, rejects."""
        return Manifest.load(self.folder)

    @property
    def spec(self) -> DataSpec:
        """Shape, modality and classes of one example."""
        return self.manifest.spec

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in their order; empty where nothing is labelled."""
        return self.spec.classes

    def __len__(self) -> int:
        return self.manifest.split("train").examples

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.spec.shape))
        labelled = f"{len(self.classes)} classes" if self.classes else "unlabelled"
        return (
            f"Data({str(self.folder)!r}: {len(self):,} examples to train on, {self.spec.modality} {shape}, {labelled})"
        )

    def examples(self, n: int = 64, *, start: int = 0, split: str = "train") -> dict[str, NDArray[Any]]:
        """Examples `start` … `start + n - 1` of a split, as they are stored.

        Returns:
            `x` (n, *shape), uint8 for images and float32 in [-1, 1] for all else; `label` (n,) of int64 where the data
            is labelled; and the items' other fields, derived ones too. Fewer than n at the end of the split.

        Raises:
            UserError: for a split that is not there, or a start beyond it.
        """
        if split not in self.manifest.splits:
            raise UserError(f"split: there is no {split!r}; {self.folder} has {', '.join(self.manifest.splits)}")
        reader = Reader(self.folder, split)
        if n < 1 or not 0 <= start < len(reader):
            raise UserError(f"n must be 1 or more and start below {len(reader)}; they are {n} and {start}")
        derived = [each.name for each in reader.derived.fields]
        return reader.examples(np.arange(start, min(start + n, len(reader))), derived)

    def picture(self, rows: int = 4, columns: int = 8) -> Image.Image:
        """The first examples as a grid; sound as spectrograms."""
        return as_grid(self.examples(rows * columns)["x"], self.spec, columns)

    def reference(
        self, extractor: str | Mapping[str, Any] = "classifier", *, seed: int = 0, threads: int = 2
    ) -> Reference:
        """The extractor's statistics of these examples, against which a training is scored.

        They are kept beside the shards, and measured once for each extractor and content.

        Args:
            extractor: the name of a file in pipeline/extractors, or `{"name": …}` with its settings.
            seed: of the extractor's own training, where it has one.
            threads: of the extractor; they are part of the result.

        Raises:
            SettingsError: if the extractor does not fit the data, such as `classifier` where nothing is labelled.
        """
        chosen = {"name": extractor} if isinstance(extractor, str) else dict(extractor)
        settings = validate(ReferenceSettings, {"extractor": chosen, "seed": seed, "threads": threads}, "reference")
        sha256 = self.manifest.sha256
        name = files.sha256_json({"settings": settings.model_dump(mode="json"), "manifest": sha256})[:12]
        out = self.folder.parent / f"{self.folder.name}-reference-{name}"
        try:
            return Reference.load(out, sha256)
        except BrokenArtefact:  # not there, or left by a kill
            train, holdout = (ShardExamples(self.folder, split) for split in ("train", "holdout"))
            return measure(settings, train, holdout, out, sha256)


def ingest(source: str | Path | Mapping[str, Any], folder: str | Path | None = None, **settings: Any) -> Data:
    """Pack a source into shards; equal sources and settings give equal bytes.

    Args:
        source: the name of a source such as `"digits"`, or `{"name": "idx", "folder": …}` with its keys; a path stands
            for `{"name": "image_folder", "folder": path}`.
        folder: where the shards go; by default `.work/data/…`, named for source and settings.
        settings: keys of the section `ingest` of params.yaml, such as `resolution=64, channels=3`.

    Raises:
        SettingsError: for an unknown source or key.
        UserError: if the source cannot be read, or too much of it is broken.
    """
    if isinstance(source, Path):
        source = {"name": "image_folder", "folder": str(source)}
    chosen = {"name": source} if isinstance(source, str) else dict(source)
    checked = validate(IngestSettings, {"source": chosen, **settings}, "ingest")
    name = f"{chosen['name']}-{files.sha256_json(checked.model_dump(mode='json'))[:8]}"
    out = WORK / "data" / name if folder is None else Path(folder)
    packing.ingest(checked, out)
    return Data(out.absolute())


def open_data(folder: str | Path) -> Data:
    """Shards that are there already, such as `artifacts/shards`.

    Raises:
        BrokenArtefact: if the folder has no manifest, or one that is damaged.
    """
    place = Path(folder).expanduser().absolute()
    Manifest.load(place)  # raises where it is no data
    return Data(place)
