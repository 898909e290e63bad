from __future__ import annotations

import numpy as np
import pytest

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Side, Statistics
from pipeline.metrics import label_agreement

WHO = ExtractorIdentity("classifier", "ab" * 32, 2)

LOGITS = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0], [1.0, 0.0]])
LABELS = np.array([0, 1, 1, 1, 0])


def test_it_counts_what_is_recognised() -> None:
    assert label_agreement.agreement(LOGITS.argmax(axis=1), LABELS) == pytest.approx(0.8)
    assert label_agreement.by_class(LOGITS.argmax(axis=1), LABELS) == {0: 1.0, 1: pytest.approx(2 / 3)}


def test_the_note_names_the_worst_class() -> None:
    side = Side.of(np.zeros((5, 2)), LOGITS, LABELS)
    statistics = Statistics(side, side, None, WHO, 0, True, ("cat", "dog"))
    (score,) = label_agreement.Metric(label_agreement.Config()).compute(statistics)
    assert (score.name, score.value) == ("label_agreement", 0.8)
    assert score.note == "worst class: dog, 0.667"


def test_of_ordered_classes_a_neighbour_is_near() -> None:
    logits = np.eye(4)[[0, 1, 3, 3, 0]]
    side = Side.of(np.zeros((5, 2)), logits, np.array([0, 0, 2, 1, 3]))
    statistics = Statistics(side, side, None, WHO, 0, True, ("0-18", "19-29", "30-39", "40+"))
    found = label_agreement.Metric(label_agreement.Config(ordered=True)).compute(statistics)
    assert {score.name: score.value for score in found} == {
        "label_agreement": 0.2,
        "label_agreement_within_one": 0.6,
    }
