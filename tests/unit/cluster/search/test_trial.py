"""A trial's readings: in order, once, replayed from the journal, finite whatever happens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from games import IMAGES, Interrupted, Killer, Scores, dcgan, train

from pipeline import params as whole
from pipeline.cluster.search import trial
from pipeline.cluster.search.trial import (
    CLOCK,
    METRIC,
    WORST_SCORE,
    TrialReporter,
    reading,
    run_trial,
    trial_settings,
    unsearched,
)
from pipeline.errors import BrokenArtefact, SettingsError, TrainingFailed
from pipeline.formats.checkpoint import CheckpointStore

CONFIG = {"families.dcgan.latent": 8}


class Told:
    def __init__(self) -> None:
        self.readings: list[dict[str, Any]] = []

    def __call__(self, entry: dict[str, Any]) -> None:
        self.readings.append(entry)

    @property
    def brief(self) -> list[tuple[int, int, float, str]]:
        return [(each["reading"], each[CLOCK], each[METRIC], each["status"]) for each in self.readings]


def ticks(readings: TrialReporter, *scores: float | None) -> None:
    for number, score in enumerate(scores, start=1):
        readings.tick({CLOCK: 10 * number} | ({} if score is None else {"frechet": score}))


def test_a_tick_without_a_score_tells_nothing() -> None:
    told = Told()
    ticks(TrialReporter(CONFIG, [], told, 30), None, 5.0, 4.0)
    assert told.brief == [(0, 20, 5.0, "running"), (1, 30, 4.0, "finished")]
    assert all(each["config"] == CONFIG and each["reason"] == "" for each in told.readings)


def test_a_replay_tells_the_same_and_goes_on() -> None:
    whole_, told = Told(), Told()
    ticks(TrialReporter(CONFIG, [], whole_, 40), 7.0, 6.0, 5.0, 4.0)
    readings = TrialReporter(CONFIG, whole_.readings[:2], told, 40)
    assert told.readings == whole_.readings[:2]
    ticks(readings, 7.0, 6.0, 5.0, 4.0)  # from the beginning: what is known is passed over
    assert told.readings == whole_.readings


def test_a_replay_of_an_ended_trial_is_ended() -> None:
    first, second = Told(), Told()
    ticks(TrialReporter(CONFIG, [], first, 20), 3.0, 2.0)
    readings = TrialReporter(CONFIG, first.readings, second, 20)
    assert readings.ended
    readings.end("failed", "never")
    assert second.readings == first.readings


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None, "none"])
def test_a_score_is_always_finite(score: Any) -> None:
    assert reading(CONFIG, 0, {CLOCK: 10, "frechet": score})[METRIC] == WORST_SCORE
    assert math.isfinite(WORST_SCORE)


@pytest.mark.parametrize("status", ["failed", "collapsed", "refused"])
def test_an_early_end_scores_worst_and_says_why(status: str) -> None:
    told = Told()
    readings = TrialReporter(CONFIG, [], told, 40)
    ticks(readings, 7.0)
    readings.end(status, "the reason")
    ticks(readings, 7.0, 1.0)
    assert told.brief == [(0, 10, 7.0, "running"), (1, 10, WORST_SCORE, status)]
    assert told.readings[1]["reason"] == "the reason"


def test_readings_that_a_kill_kept_from_the_journal_come_from_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(dcgan(), IMAGES, tmp_path, scorer=Scores(9.0, 8.0, 7.0), reporter=Killer(3))
    told = Told()
    readings = TrialReporter(CONFIG, [], told, 128)
    readings.catch_up(CheckpointStore(tmp_path))
    assert told.brief == [(0, 32, 9.0, "running"), (1, 64, 8.0, "running")]
    train(dcgan(), IMAGES, tmp_path, scorer=Scores(7.0, 6.0), reporter=readings)
    assert told.brief[2:] == [(2, 96, 7.0, "running"), (3, 128, 6.0, "finished")]


# --- run_trial --------------------------------------------------------------------------------

RAW: dict[str, Any] = {
    "families": {"dcgan": {"preset": "digits"}},
    "train": {"tick": 64, "checkpoint": 64, "grid": 64, "examples": 640, "score": {"every": 64}},
    "tune": {"examples": 128, "first_rung": 64, "space": {"families.dcgan.latent": {"randint": [4, 8]}}},
}


def setup(tmp_path: Path) -> dict[str, Any]:
    paths = {"shards": "s", "reference": "r", "cache": "c", "cache_budget": 0}
    return {"raw": RAW, "paths": paths, "examples": 128, "scratch": str(tmp_path)}


@pytest.mark.parametrize(
    ("raised", "status"), [(TrainingFailed("play/total is NaN"), "failed"), (SettingsError("too wide"), "refused")]
)
def test_what_the_settings_cause_is_a_bad_score(
    raised: Exception, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise raised

    monkeypatch.setattr(trial, "fit_and_score", fail)
    told = Told()
    run_trial(CONFIG, setup(tmp_path), [], told)
    assert told.brief == [(0, 0, WORST_SCORE, status)]
    assert told.readings[0]["reason"] == str(raised)


def test_what_the_data_cause_is_no_score_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the journal it would outlive the mending."""

    def fail(*arguments: Any) -> None:
        raise BrokenArtefact("shard 3 is damaged")

    monkeypatch.setattr(trial, "fit_and_score", fail)
    told = Told()
    with pytest.raises(BrokenArtefact):
        run_trial(CONFIG, setup(tmp_path), [], told)
    assert told.readings == []


def test_an_impossible_combination_is_refused_with_its_reason(tmp_path: Path) -> None:
    told = Told()
    run_trial({"train.batch_size": 7}, setup(tmp_path), [], told)
    assert told.brief == [(0, 0, WORST_SCORE, "refused")]
    assert "batch_size" in told.readings[0]["reason"]


def test_a_trial_is_a_training_with_a_shorter_clock() -> None:
    params = whole.check(unsearched(RAW, CONFIG))
    assert params.family == {"preset": "digits", "latent": 8}
    train_ = trial_settings(params)
    assert (train_["examples"], train_["checkpoint"], train_["score"]["every"]) == (128, 64, 64)
    assert train_["health"]["rollbacks"] == 0
    kept = {"batch_size", "lanes", "seed", "averaging", "family", "reduction"}
    assert {name: train_[name] for name in kept} == {name: params.train.model_dump()[name] for name in kept}
    assert RAW["train"]["examples"] == 640, "what was given is not changed"
