"""Label agreement: does the classifier recognise a conditional sample as what was asked for?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.errors import UserError
from pipeline.settings import Settings


class Config(Settings):
    """Whether classes have an order, as age bands do."""

    ordered: bool = Field(default=False, description="also the share of samples recognised as theirs or a class beside")


class Metric(contract.Metric[Config]):
    """The classification accuracy score of samples; the worst class is named in the note."""

    needs = frozenset({"logits", "labels", "classes"})

    def compute(self, statistics: Statistics) -> list[Score]:
        fake = statistics.fake
        if fake.predictions is None or fake.labels is None:
            raise UserError("label agreement was asked of samples without class predictions or labels")
        recognised = fake.predictions.recognised
        each = by_class(recognised, fake.labels)
        worst = min(each, key=lambda label: (each[label], label))
        name = statistics.classes[worst] if worst < len(statistics.classes) else str(worst)
        value = agreement(recognised, fake.labels)
        settings = {"ordered": True} if self.config.ordered else {}
        found = [
            Score("label_agreement", value, 0, len(fake), None, f"worst class: {name}, {each[worst]:.3f}",
                  settings=settings)
        ]  # fmt: skip
        if self.config.ordered:
            near = float((np.abs(recognised - fake.labels) <= 1).mean())
            told = "recognised as the class that was asked for, or the one before or behind it"
            found.append(Score("label_agreement_within_one", near, 0, len(fake), None, told, settings=settings))
        return found


def agreement(recognised: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """The fraction of samples recognised (n,) as their label (n,)."""
    return float((recognised == labels).mean())


def by_class(recognised: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[int, float]:
    """The same, for each label that occurs."""
    return {int(label): float((recognised[labels == label] == label).mean()) for label in np.unique(labels)}
