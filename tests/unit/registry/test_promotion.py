from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.formats.report import ExtractorIdentity, ScoreRecord
from pipeline.params.register import RegisterSettings
from pipeline.registry import promotion
from pipeline.settings import validate

SETTINGS = RegisterSettings()
CHAMPION = ScoreRecord(
    name="frechet_classifier",
    value=3.0,
    spread=0.25,
    n_real=1437,
    n_fake=2048,
    split="train",
    extractor=ExtractorIdentity("classifier", "ab" * 32, 64),
    resize="none",
    seed=5,
    repeats=3,
    ema=True,
    truncation=1.0,
    version="1",
)


def _scored(value: float) -> ScoreRecord:
    return replace(CHAMPION, value=value)


@pytest.mark.parametrize(("value", "allowed"), [(2.9, True), (3.0, True), (3.001, False)])
def test_lower_is_better_by_default(value: float, allowed: bool) -> None:
    assert promotion.decide(_scored(value), CHAMPION, SETTINGS).allowed is allowed


@pytest.mark.parametrize(("value", "allowed"), [(2.9, False), (3.0, True), (3.001, True)])
def test_higher_may_be_better(value: float, allowed: bool) -> None:
    settings = RegisterSettings(metric="precision", lower_is_better=False)
    assert promotion.decide(_scored(value), CHAMPION, settings).allowed is allowed


def test_a_tolerance_lets_a_little_worse_pass() -> None:
    settings = RegisterSettings(tolerance=0.5)
    passed = promotion.decide(_scored(3.5), CHAMPION, settings)
    assert passed.allowed
    assert "worse by 0.5, within the tolerance of 0.5" in passed.text
    refused = promotion.decide(_scored(3.75), CHAMPION, settings)
    assert not refused.allowed
    assert "worse by 0.75, more than the tolerance of 0.5" in refused.text


def test_a_refusal_shows_both_records() -> None:
    text = promotion.decide(_scored(4.0), CHAMPION, SETTINGS).text
    assert "candidate: frechet_classifier 4 ± 0.25: 2048 samples against 1437 of train, 3 seeds from 5" in text
    assert "champion:  frechet_classifier 3 ± 0.25" in text
    assert "averaged weights, truncation 1, resize none, extractor classifier abababababab" in text


def test_a_difference_within_the_spread_is_said_to_be_perhaps_chance() -> None:
    assert "less than the spread over seeds, 0.25" in promotion.decide(_scored(3.2), CHAMPION, SETTINGS).text
    assert "spread over seeds" not in promotion.decide(_scored(3.3), CHAMPION, SETTINGS).text


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"extractor": ExtractorIdentity("classifier", "cd" * 32, 64)}, "extractor"),
        ({"n_fake": 1000}, "n_fake: 1000 | 2048"),
        ({"split": "holdout"}, "split: holdout | train"),
        ({"seed": 6}, "seed: 6 | 5"),
        ({"ema": False}, "ema: False | True"),
        ({"truncation": 0.7}, "truncation: 0.7 | 1.0"),
    ],
)
def test_unlike_protocols_are_refused_however_good_the_score(change: dict[str, object], named: str) -> None:
    decision = promotion.decide(replace(CHAMPION, value=0.0, **change), CHAMPION, SETTINGS)  # pyright: ignore
    assert not decision.allowed
    assert "unlike protocols" in decision.text
    assert named in decision.text


def test_missing_records_decide_nothing() -> None:
    assert promotion.decide(None, CHAMPION, SETTINGS).text == "the candidate has no record of 'frechet_classifier'"
    assert promotion.decide(CHAMPION, None, SETTINGS).text == "the champion has no record of 'frechet_classifier'"
    assert len(promotion.decide(None, None, SETTINGS).reasons) == 2


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_of_two_different_scores_one_way_only_is_allowed(a: float, b: float) -> None:
    there = promotion.decide(_scored(a), _scored(b), SETTINGS).allowed
    back = promotion.decide(_scored(b), _scored(a), SETTINGS).allowed
    assert there == (a - b <= 0)
    assert there or back


def test_the_decision_imports_no_mlflow() -> None:
    tree = ast.parse(Path(promotion.__file__).read_text())
    assert not [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and "mlflow" in ast.unparse(node)
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"candidate": "champion"}, "must be two aliases"),
        ({"champion": "latest"}, "'latest' is no alias"),
        ({"champion": "v12"}, "'v12' is no alias"),
        ({"name": "a/b"}, "register.name"),
        ({"tolerance": -1}, "register.tolerance"),
        ({"metrik": "x"}, "did you mean 'metric'"),
    ],
)
def test_wrong_settings_are_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate(RegisterSettings, section, "register")
