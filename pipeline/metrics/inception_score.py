"""The inception score (Salimans et al. 2016), of whichever classifier the extractor is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Side, Statistics
from pipeline.contract.predictions import Floats, Predictions
from pipeline.errors import UserError
from pipeline.score_names import reported_name
from pipeline.settings import Settings

# Of as many pairs of neighbours as there are samples, one in millions of arbitrary orders is as far from chance.
DEVIATIONS = 5


class Config(Settings):
    """How many parts the samples are cut into; the score is the mean over them.

    Parts of samples that come class by class hold few classes each, and score far too low. So they are cut from an
    order shuffled by the seed, as torch-fidelity does; `shuffle: false` cuts them as they come.
    """

    splits: int = Field(default=1, ge=1, description="parts of the samples scored apart (the paper: 10 of 5,000 each)")
    shuffle: bool = Field(default=True, description="cut the parts from an order shuffled by the seed")


class Metric(contract.Metric[Config]):
    """exp E KL(p(y|x) ‖ p(y)): 1 at worst, the number of classes at best. The reals play no part.

    Spread: the deviation of the parts (over n, as the paper's code has it).
    """

    needs = frozenset({"logits"})
    aliases = ("is", "isc")
    usual: ClassVar[Mapping[str, Any]] = {"splits": 10}

    @property
    def splits(self) -> int:
        """Into how many parts the predictions are to be summed."""
        return self.config.splits

    @property
    def shuffle(self) -> bool:
        """Whether the parts are of a shuffled order."""
        return self.config.shuffle

    def compute(self, statistics: Statistics) -> list[Score]:
        found = statistics.fake.predictions
        if found is None:
            raise UserError("the inception score needs class predictions, and these samples have none")
        scores = found.scores()
        parts = len(scores)
        note = f"of {found.classes} classes at best; {parts} split{'s' if parts > 1 else ''}"
        few = len(found) < 10 * found.classes
        warnings = (f"{len(found):,} samples of {found.classes} classes: biased downwards",) if few else ()
        if parts > 1 and not self.config.shuffle and class_by_class(statistics.fake):
            warnings += (
                "samples that come class by class, not shuffled: each part holds few classes, the score is low",
            )
        return [
            Score(
                reported_name("score", statistics.extractor),
                float(scores.mean()),
                0,
                len(found),
                None,
                note,
                spread=float(scores.std()) if parts > 1 else None,
                warnings=warnings,
                settings={**self.config.model_dump(mode="json"), "splits": parts},
            )
        ]


def class_by_class(side: Side) -> bool:
    """Whether neighbours are of one class far more often than in an arbitrary order.

    By their labels, where they have any, or by what they were recognised as.
    """
    labels = side.labels
    if labels is not None and len(labels) and (labels >= 0).all() and bool((np.diff(labels) >= 0).all()):
        return bool(labels[0] != labels[-1])
    return side.predictions is not None and clustered(side.predictions.recognised)


def clustered(classes: NDArray[np.int64]) -> bool:
    """Whether equal classes (n,) stand side by side more often than by chance, by 5 standard deviations."""
    total = len(classes)
    if total < 3:
        return False
    counts = np.unique(classes, return_counts=True)[1].astype(np.float64)
    chance = float((counts * (counts - 1)).sum() / (total * (total - 1)))
    seen = float((classes[1:] == classes[:-1]).mean())
    return seen - chance > DEVIATIONS * np.sqrt(max(chance * (1 - chance), 1 / total) / (total - 1))


def inception_scores(logits: NDArray[Any], splits: int = 1) -> Floats:
    """The score of each of `splits` consecutive parts of logits (n, classes)."""
    return Predictions.of(logits, splits).scores()
