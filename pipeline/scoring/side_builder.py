"""An opened input as one side of a measurement: read, seen by the extractor, or remembered from an earlier time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.contract.metric import AnyMetric, Side
from pipeline.contract.moments import Moments
from pipeline.errors import BrokenArtefact
from pipeline.formats.statistics import CARD, Seen, load_seen, save_seen
from pipeline.scoring.bound_extractor import BoundExtractor
from pipeline.scoring.collecting import CollectionPlan, planned
from pipeline.scoring.extract import Mapped
from pipeline.scoring.inputs import GivenFeatures, GivenStatistics, ImageSet, Input, ReferenceSplit, predictions
from pipeline.scoring.sizes import FILTER
from pipeline.storage import files


@dataclass(frozen=True)
class SideBuilder:
    """How sides come about. cache: where reals are remembered by content; said: what a person is told besides."""

    viewer: BoundExtractor | None
    cache: Path | None
    progress: Callable[[str], Callable[[int, int], None]]
    mapped: Mapped
    said: list[str]

    def side(self, which: str, side: Input, metrics: Sequence[AnyMetric], seed: int) -> Side:
        """What these metrics look at; which: real, fake or holdout."""
        if isinstance(side, GivenStatistics):
            return Side(side.gaussian)
        if isinstance(side, ReferenceSplit):
            found, split = side.reference, side.split
            return Side(found.moments(split), found.features(split), None, found.labels(split))
        if isinstance(side, GivenFeatures):
            return _of_ready(side, metrics, seed if which == "fake" else None)
        assert isinstance(side, ImageSet)  # models were sampled
        plan = planned(metrics, len(side.examples))
        if which == "fake":
            return self._look(which, side, plan, seed)
        if any("holdout" in metric.needs for metric in metrics):
            plan = replace(plan, rows=plan.count)
        return self._remembered(which, side, plan)

    def _look(self, which: str, side: ImageSet, plan: CollectionPlan, seed: int) -> Side:
        assert self.viewer is not None  # there are pictures
        return self.viewer.look(side, plan, seed, self.mapped, self.progress(f"{which}: features"))

    def _remembered(self, which: str, side: ImageSet, plan: CollectionPlan) -> Side:
        """Reals are seen once for each content, extractor and number of kept rows."""
        folder = self._folder(side, plan)
        if folder is None:
            return self._look(which, side, plan, 0)
        if (folder / CARD).is_file():
            try:
                found = load_seen(folder)
                self.said.append(f"{which}: statistics of this very content were kept ({folder.name[:12]}…)")
                return Side(found.moments, found.features, None, side.labels, found.kept)
            except BrokenArtefact as error:
                self.said.append(f"{which}: kept statistics are not used ({error})")
        seen = self._look(which, side, plan, 0)
        assert isinstance(seen.moments, Moments)  # of pictures
        try:
            save_seen(folder, Seen(seen.moments, seen.features, seen.kept, side.labels))
        except OSError as error:
            self.said.append(f"{which}: the statistics could not be kept ({error.strerror})")
        return seen

    def _folder(self, side: ImageSet, plan: CollectionPlan) -> Path | None:
        if self.cache is None or self.viewer is None:
            return None
        who = self.viewer
        parts: dict[str, Any] = {
            "content": side.content,
            "extractor": who.identity.to_json(),
            "resize": who.resize,
            "rows": plan.rows,
        }
        if side.size is not None:
            parts["size"] = [*side.size, FILTER]
        return self.cache / files.sha256_json({**parts, "settings": who.settings})


def _of_ready(side: GivenFeatures, metrics: Sequence[AnyMetric], seed: int | None) -> Side:
    """Rows as they are; class predictions where it is the samples (`seed` is theirs) and a metric looks at them."""
    predicted = None
    if seed is not None and any("logits" in metric.needs for metric in metrics):
        splits = max(metric.splits for metric in metrics)
        shuffle = any(metric.shuffle for metric in metrics)
        predicted = predictions(side, splits, seed if shuffle else None)
    if side.rows is None or all("logits" in metric.needs for metric in metrics):
        return Side(None, None, predicted, side.labels)
    return Side(Moments.of(side.rows), side.rows, predicted, side.labels)
