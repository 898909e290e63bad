"""Whether a sample shows what its label map asks for, place by place, by a judge that learnt from real photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import LabelMaps, Score, Statistics
from pipeline.errors import UserError
from pipeline.metrics import _segmenter
from pipeline.settings import Settings

Counts = NDArray[np.int64]


class Config(Settings):
    """How the judge is trained, and how much it sees."""

    width: int = Field(default=24, ge=4, le=256, description="maps of the judge's convolutions")
    examples: int = Field(default=4000, ge=1, description="training pairs that it is shown in all")
    batch_size: int = Field(default=16, ge=1)
    lr: float = Field(default=3e-3, gt=0)
    limit: int = Field(default=512, ge=1, description="held-out maps at most, the first")


class Metric(contract.Metric[Config]):
    """The share of places where the judge sees the class that was asked for, and the mean over classes of its IoU.

    After Isola et al. 2017, section 4.1, whose judge is an FCN trained on Cityscapes; here a small network learns
    this data's own pairs, so that only values of one data set compare. Beside them are those of the real photographs
    of the same maps (`…_of_truth`): what the judge itself can do. Classes that no held-out map has do not count.
    """

    needs = frozenset({"label_maps"})

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._judge: tuple[tuple[int, int, int], _segmenter.Segmenter] | None = None

    @property
    def rows(self) -> int:
        return 0

    def compute(self, statistics: Statistics) -> list[Score]:
        maps, config = statistics.label_maps, self.config
        if maps is None:
            raise UserError("label_map_agreement was asked of a design that is given no label maps")
        judge = self._learnt(maps)
        found = {key: np.zeros((maps.classes, maps.classes), dtype=np.int64) for key in ("", "_of_truth")}
        count = min(config.limit, maps.held)
        for block in maps.blocks(count):
            assert block.made is not None  # held-out blocks have what was made of them
            for key, photo in (("", block.made), ("_of_truth", block.photo)):
                found[key] += confusion(block.classes, _segmenter.named(judge, photo), maps.classes)
        if not found[""].any():
            return []
        settings, scores = config.model_dump(mode="json"), list[Score]()
        for key, counts in found.items():
            what = "real photographs" if key else "samples"
            told = f"of {what} of {count:,} held-out maps, by a judge trained on {maps.trained:,} pairs"
            for name, value in (("agreement", agreement(counts)), ("iou", mean_iou(counts))):
                scores.append(Score(f"label_map_{name}{key}", value, count, count, "holdout", told, settings=settings))
        return scores

    def _learnt(self, maps: LabelMaps) -> _segmenter.Segmenter:
        """The judge of these data, trained once for all repeats."""
        config, known = self.config, (maps.classes, maps.trained, maps.held)
        if self._judge is None or self._judge[0] != known:
            judge = _segmenter.learnt(maps, config.width, config.examples, config.batch_size, config.lr)
            self._judge = known, judge
        return self._judge[1]


def confusion(asked: NDArray[np.int64], seen: NDArray[np.int64], classes: int) -> Counts:
    """How often each class (row) was taken for each (column), over places with a class."""
    kept = asked >= 0
    return np.bincount(asked[kept] * classes + seen[kept], minlength=classes**2).reshape(classes, classes)


def agreement(counts: Counts) -> float:
    """The share of places on the diagonal."""
    return float(np.trace(counts) / counts.sum())


def mean_iou(counts: Counts) -> float:
    """The mean of intersection over union, over classes that were asked for."""
    inside = np.diag(counts).astype(np.float64)
    asked = counts.sum(axis=1)
    union = asked + counts.sum(axis=0) - inside
    return float(np.mean(inside[asked > 0] / union[asked > 0]))
