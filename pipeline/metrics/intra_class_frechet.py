"""Intra-class Fréchet distance (Miyato & Koyama 2018): each class against its own, the mean over classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.contract.moments import Moments
from pipeline.errors import UserError
from pipeline.metrics._gaussians import distance
from pipeline.metrics._shared import fewer
from pipeline.score_names import reported_name
from pipeline.settings import Settings


class Config(Settings):
    """A bound on what is kept."""

    limit: int = Field(default=50_000, ge=8, description="at most this many samples, chosen by the seed")


class Metric(contract.Metric[Config]):
    """Sees what the distance of the whole does not: a generator that ignores what it is asked for."""

    needs = frozenset({"features", "labels"})
    aliases = ("intra_fid", "intra_class_fid")

    def compute(self, statistics: Statistics) -> list[Score]:
        real, fake = statistics.real, statistics.fake
        of_real, of_fake = real.row_labels(), fake.row_labels()
        if of_real is None or of_fake is None:
            raise UserError("the intra-class distance needs the labels of both sides")
        each = intra_class(real.rows(), of_real, fake.rows(), of_fake, statistics.classes)
        worst = max(each, key=lambda label: each[label])
        name = _name(worst, statistics.classes)
        low = min(int((labels == label).sum()) for labels in (of_real, of_fake) for label in each)
        dimension = real.rows().shape[1]
        warnings = fewer(len(fake.rows()), fake, "samples")
        if low <= dimension:
            warnings += (f"a class has {low} in {dimension} dimensions: its covariance is rank-deficient",)
        return [
            Score(
                f"intra_class_{reported_name('frechet', statistics.extractor)}",
                float(np.mean(list(each.values()))),
                len(of_real),
                len(of_fake),
                statistics.split,
                f"mean of {len(each)} classes; worst: {name}, {each[worst]:.4g}",
                warnings=warnings,
                settings=self.config.model_dump(mode="json"),
            )
        ]


def intra_class(
    real: NDArray[Any],
    of_real: NDArray[np.int64],
    fake: NDArray[Any],
    of_fake: NDArray[np.int64],
    names: Sequence[str] = (),
) -> dict[int, float]:
    """The distance of each class of the reals; rows (n, d) and (m, d), labels (n,) and (m,). names: of the classes.

    Raises:
        UserError: naming the first class with fewer than two rows on either side.
    """
    classes = np.unique(of_real[of_real >= 0])
    if not len(classes):
        raise UserError("the intra-class distance needs labelled reals, and none has a label")
    found: dict[int, float] = {}
    for label in classes.tolist():
        mine, others = real[of_real == label], fake[of_fake == label]
        if min(len(mine), len(others)) < 2:
            raise UserError(
                f"the intra-class distance needs at least 2 of each class on either side; '{_name(label, names)}' has "
                f"{len(mine)} reals and {len(others)} samples"
            )
        found[int(label)] = distance(Moments.of(mine), Moments.of(others))
    return found


def _name(label: int, names: Sequence[str]) -> str:
    return names[label] if label < len(names) else str(label)
