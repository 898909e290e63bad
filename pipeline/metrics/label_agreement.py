"""Label agreement: does the classifier recognise a conditional sample as what was asked for?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics._shared import Need, Score, Statistics
from pipeline.settings import Settings


class Config(Settings):
    """Nothing to choose."""


class Metric:
    """The classification accuracy score of samples; the worst class is named in the note."""

    needs: frozenset[Need] = frozenset({"logits", "labels"})

    def __init__(self, config: Config) -> None:
        self.config = config

    def compute(self, statistics: Statistics) -> list[Score]:
        fake = statistics.fake
        if fake.logits is None or fake.labels is None:
            raise RuntimeError("label agreement was asked of samples without logits or labels")
        each = by_class(fake.logits, fake.labels)
        worst = min(each, key=lambda label: (each[label], label))
        name = statistics.classes[worst] if worst < len(statistics.classes) else str(worst)
        value = agreement(fake.logits, fake.labels)
        return [Score("label_agreement", value, 0, len(fake), None, f"worst class: {name}, {each[worst]:.3f}")]


def agreement(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """The fraction of rows whose largest logit is their label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def by_class(logits: NDArray[Any], labels: NDArray[np.int64]) -> dict[int, float]:
    """The same, for each label that occurs."""
    found = logits.argmax(axis=1)
    return {int(label): float((found[labels == label] == label).mean()) for label in np.unique(labels)}
