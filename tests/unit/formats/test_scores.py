from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.report import (
    ExtractorIdentity,
    ScoreRecord,
    difference,
    load_score,
    load_scores,
    save_scores,
    unlike,
)

RECORD = ScoreRecord(
    name="precision",
    value=0.8,
    spread=0.01,
    n_real=100,
    n_fake=100,
    split="train",
    extractor=ExtractorIdentity("classifier", "f" * 64, 64),
    resize="none",
    seed=0,
    repeats=3,
    ema=True,
    truncation=1.0,
    version="0.1.0",
    note="k=3",
)


def test_records_come_back_and_metrics_are_flat(tmp_path: Path) -> None:
    records = [RECORD, replace(RECORD, name="recall", value=0.5, spread=None, split=None)]
    save_scores(tmp_path, records)
    assert load_scores(tmp_path) == records
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"precision": 0.8, "recall": 0.5}
    assert load_score(tmp_path, "recall") == records[1]


def test_an_unknown_score_names_the_known_ones(tmp_path: Path) -> None:
    save_scores(tmp_path, [RECORD])
    with pytest.raises(UserError, match="no score 'fid'; it holds precision"):
        load_score(tmp_path, "fid")


def test_two_scores_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same name: precision"):
        save_scores(tmp_path, [RECORD, RECORD])


def test_like_protocols_are_compared() -> None:
    better = replace(RECORD, value=0.9, spread=None, note="other", version="0.2.0")
    assert unlike(RECORD, better) == []
    assert difference(RECORD, better) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_fake", 50),
        ("seed", 1),
        ("split", "holdout"),
        ("truncation", 0.7),
        ("ema", False),
        ("resize", "clean"),
        ("extractor", ExtractorIdentity("classifier", "e" * 64, 64)),
    ],
)
def test_unlike_protocols_are_refused_and_named(field: str, value: object) -> None:
    with pytest.raises(UserError, match=f"differ in {field}: "):
        difference(RECORD, replace(RECORD, **{field: value}))


def test_torn_scores_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"format_version": 1, "scores": [{"name": "x"}]}')
    with pytest.raises(BrokenArtefact, match="no whole score record"):
        load_scores(tmp_path)
    (tmp_path / "scores.json").write_text("[]")
    with pytest.raises(BrokenArtefact, match="no scores of format 1"):
        load_scores(tmp_path)
