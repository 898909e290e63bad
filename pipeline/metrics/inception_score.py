"""The inception score (Salimans et al. 2016), of whichever classifier the extractor is."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from pipeline.metrics._predictions import Floats, Predictions
from pipeline.metrics._shared import Need, Score, Statistics, reported_name
from pipeline.settings import Settings, UserError


class Config(Settings):
    """How many parts the samples are cut into; the score is the mean over them."""

    splits: int = Field(default=1, ge=1, description="parts of the samples scored apart (the paper: 10 of 5,000 each)")
    shuffle: bool = Field(default=False, description="parts of a shuffled order: for samples that come class by class")


class Metric:
    """exp E KL(p(y|x) ‖ p(y)): 1 at worst, the number of classes at best. The reals play no part.

    Spread: the deviation of the parts (over n, as the paper's code has it).
    """

    needs: frozenset[Need] = frozenset({"logits"})

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def rows(self) -> int:
        return 0

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


def inception_scores(logits: NDArray[Any], splits: int = 1) -> Floats:
    """The score of each of `splits` consecutive parts of logits (n, classes)."""
    return Predictions.of(logits, splits).scores()
