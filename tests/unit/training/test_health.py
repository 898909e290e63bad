"""Signs of a sick run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from games import IMAGES, ROWS, Scalars, Scores, dcgan, number, sgd, train
from torch import Tensor

from pipeline.contract import MemoryReporter, Phase, Turn
from pipeline.training.health import collapse
from pipeline.training.settings import Health

LIMITS = Health(collapse_spread=0.05, collapse_recall=0.01, grace=100)


@pytest.mark.parametrize(
    ("scores", "seen", "said"),
    [
        ({"feature_spread": 0.04}, 100, "feature variance is 0.040"),
        ({"feature_spread": float("nan")}, 100, "feature variance is nan"),
        ({"feature_spread": 0.5, "recall": 0.009}, 100, "recall is 0.009"),
        ({"feature_spread": 0.05, "recall": 0.01}, 100, None),
        ({"feature_spread": 0.0, "recall": 0.0}, 99, None),
        ({}, 100, None),
    ],
)
def test_collapse_by_spread_and_by_recall(scores: dict[str, float], seen: int, said: str | None) -> None:
    found = collapse(scores, seen, LIMITS)
    assert found is said if said is None else said in str(found)


def test_a_collapsed_training_is_warned_of_and_goes_on(tmp_path: Path) -> None:
    reporter = MemoryReporter()
    scorer = Scores(*[9.0] * 4, feature_spread=0.01)
    outcome = train(dcgan(), IMAGES, tmp_path, scorer=scorer, reporter=reporter, health={"grace": 64})
    assert outcome.status == "finished"
    assert [note[:40] for note in reporter.notes] == [
        f"at {seen} examples the samples have collapse"[:40] for seen in (64, 96, 128)
    ]


def test_a_collapsed_trial_ends_there_and_again_when_repeated(tmp_path: Path) -> None:
    """It leaves no checkpoint behind from which a repetition could go on as if nothing were."""
    for _ in range(2):
        scorer = Scores(*[9.0] * 4, feature_spread=0.01)
        outcome = train(dcgan(), IMAGES, tmp_path, scorer=scorer, stop_on_collapse=True, health={"grace": 64})
        assert (outcome.status, outcome.state.examples_seen) == ("collapsed", 64)
        assert outcome.reason is not None
        assert outcome.reason.startswith("the samples' feature variance")


def test_a_vanished_gradient_is_named(tmp_path: Path) -> None:
    def faint(turn: Turn) -> dict[str, Tensor]:
        return {"total": 1e-9 * number(turn.networks["a"]).sum()}

    reporter = MemoryReporter()
    train(Scalars({"a": sgd()}, (Phase("play", "a", faint),)), ROWS, tmp_path, reporter=reporter, examples=32)
    assert reporter.notes == ["at 32 examples play/gradient_norm is 1.0e-09: the gradient has vanished"]


def test_readings_stand_in_the_history_where_they_are_due(tmp_path: Path) -> None:
    outcome = train(dcgan(), IMAGES, tmp_path, scorer=Scores(4.0, 3.0), score={"every": 96})
    found: list[Any] = [record.get("frechet") for record in outcome.history]
    assert found == [None, None, 4.0, 3.0], "every 96 examples, and at the end"


def test_nothing_of_the_clock_on_the_wall_is_in_the_history(tmp_path: Path) -> None:
    reporter = MemoryReporter()
    outcome = train(dcgan(), IMAGES, tmp_path, reporter=reporter)
    timed = {"examples_per_second", "eta_seconds", "time"}
    assert all(not timed & set(record) for record in outcome.history)
    assert all(timed <= set(tick) for tick in reporter.ticks)
    assert reporter.ticks[-1]["eta_seconds"] == 0
