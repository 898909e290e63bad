"""Intersection over union with the nearest neighbour: how near volumes are to the training shapes, cell by cell."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Side, Statistics
from pipeline.errors import UserError
from pipeline.metrics._shared import fewer
from pipeline.settings import Settings
from pipeline.types import Modality

BLOCK = 256  # shapes that are compared with all others at once


class Config(Settings):
    """When a cell is full, and a bound on the quadratic cost."""

    level: float = Field(default=0.5, ge=0, lt=1, description="a cell fuller than this is part of the shape")
    limit: int = Field(default=1000, ge=1, description="at most this many samples, and as many of the holdout")


class Metric(contract.Metric[Config]):
    """IoU(a, b) = |a ∩ b| / |a ∪ b| of the full cells; 1 where both are empty.

    `occupancy_iou`: each sample's largest IoU with any training shape, averaged; 1 for copies.
    `occupancy_iou_coverage`: each training shape's (of as many as there are samples) largest IoU with any sample,
    averaged: low where shapes are missing. Held-out shapes stand in the note as the control of the first.
    """

    needs = frozenset({"examples"})
    modalities: ClassVar[frozenset[Modality] | None] = frozenset({"voxels"})

    @property
    def rows(self) -> int:
        return 0

    def compute(self, statistics: Statistics) -> list[Score]:
        limit = self.config.limit
        real, fake = self._full(statistics.real), self._full(statistics.fake)[:limit]
        of_fake, of_real = nearest(fake, real), nearest(real[: len(fake)], fake)
        note = "largest IoU with a training shape; copies give 1"
        if statistics.holdout is not None and (held := self._full(statistics.holdout)[:limit]).size:
            note += f"; {len(held):,} held-out shapes give {nearest(held, real).mean():.3f}"
        told: dict[str, Any] = {
            "warnings": fewer(len(fake), statistics.fake, "samples") + fewer(len(real), statistics.real, "reals"),
            "settings": self.config.model_dump(mode="json"),
        }
        coverage = "largest IoU of a training shape with a sample"
        return [
            Score("occupancy_iou", float(of_fake.mean()), len(real), len(fake), "train", note, **told),
            Score("occupancy_iou_coverage", float(of_real.mean()), len(fake), len(fake), "train", coverage, **told),
        ]

    def _full(self, side: Side) -> NDArray[np.bool_]:
        """Which cells are full, (n, cells).

        Raises:
            UserError: if the examples themselves are not at hand.
        """
        if side.examples is None:
            raise UserError("occupancy_iou compares the shapes themselves, and there are none")
        x = side.examples.reshape(len(side.examples), -1)
        return x > 255 * self.config.level if x.dtype == np.uint8 else x > 2 * self.config.level - 1


def nearest(shapes: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each shape (n, cells) the largest IoU with any of `others` (m, cells): (n,)."""
    found = np.zeros(len(shapes))
    sizes, theirs = (each.sum(axis=1, dtype=np.int64) for each in (shapes, others))
    columns = others.astype(np.float32).T  # counts of cells are exact to 2^24
    for begin in range(0, len(shapes), BLOCK):
        rows = slice(begin, begin + BLOCK)
        common = (shapes[rows].astype(np.float32) @ columns).astype(np.float64)
        union = sizes[rows, None] + theirs[None] - common
        found[rows] = np.where(union > 0, common / np.maximum(union, 1), 1.0).max(axis=1)
    return found
