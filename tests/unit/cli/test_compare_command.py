from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.compare import compare, records, show
from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.report import ExtractorIdentity, ScoreRecord, dumps, save_scores

FID = ScoreRecord(
    name="fid_768",
    value=0.25,
    spread=None,
    n_real=1000,
    n_fake=1000,
    split=None,
    extractor=ExtractorIdentity("inception", "ab" * 32, 768, 768, True),
    resize="legacy_torch",
    seed=0,
    repeats=1,
    ema=None,
    truncation=None,
    version="0.1.0",
    real="cd" * 32,
)
KID = replace(FID, name="kid_768", value=0.01, settings={"degree": 3})


def written(path: Path, *found: ScoreRecord) -> str:
    path.write_text(dumps(found))
    return str(path)


def test_like_protocols_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = written(tmp_path / "one.json", FID, KID)
    save_scores(tmp_path / "report", [replace(FID, value=0.5, warnings=("few",)), replace(FID, name="fid_64")])
    rows = compare([one, str(tmp_path / "report")])
    assert [row.name for row in rows] == ["fid_768", "kid_768", "fid_64"]
    assert not any(row.unlike for row in rows)
    show(rows, ["one", "report"], as_json=False)
    shown = capsys.readouterr().out
    for word in ("0.25", "0.5 ⚠", "–"):
        assert word in shown
    show(rows, ["one", "report"], as_json=True)
    assert json.loads(capsys.readouterr().out)["scores"][0]["records"][1]["value"] == 0.5


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (replace(FID, n_fake=500), "n_fake: 1000 | 500"),
        (replace(FID, resize="clean"), "resize: legacy_torch | clean"),
        (replace(FID, real="ef" * 32), "real: cdcdcdcdcdcd | efefefefefef"),
        (replace(FID, seed=1), "seed: 0 | 1"),
        (replace(FID, settings={"k": 3}), "settings.k: None | 3"),
        (replace(FID, extractor=ExtractorIdentity("inception", "ef" * 32, 768, 768)), "extractor: inception abab"),
        (replace(FID, truncation=0.5, ema=True), "ema: None | True"),
    ],
)
def test_unlike_protocols_are_refused_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: ScoreRecord, difference: str
) -> None:
    runs = [written(tmp_path / "one.json", FID), written(tmp_path / "two.json", other)]
    with pytest.raises(UserError, match="unlike protocols") as refused:
        compare(runs)
    assert difference in str(refused.value)
    rows = compare(runs, anyway=True)
    show(rows, runs, as_json=False)
    assert f"≠ {difference}" in capsys.readouterr().out


def test_the_published_network_in_another_file_is_the_same(tmp_path: Path) -> None:
    other = replace(FID, extractor=ExtractorIdentity("inception", "ef" * 32, 768, 768, True), value=1.0)
    assert len(compare([written(tmp_path / "one.json", FID), written(tmp_path / "two.json", other)])) == 1


def test_a_difference_of_all_is_said_once(tmp_path: Path) -> None:
    runs = [
        written(tmp_path / "one.json", FID, KID),
        written(tmp_path / "two.json", replace(FID, seed=1), replace(KID, seed=1)),
    ]
    with pytest.raises(UserError) as refused:
        compare(runs)
    assert str(refused.value).count("seed: 0 | 1") == 1


def test_what_cannot_be_compared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = written(tmp_path / "one.json", FID)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="name two runs or more"):
        compare([one])
    with pytest.raises(UserError, match="share no score"):
        compare([one, written(tmp_path / "two.json", KID)])
    with pytest.raises(UserError, match=r"holds no scores\.json"):
        records(str(tmp_path))
    with pytest.raises(UserError, match="neither models:/NAME/VERSION nor a run id"):
        records("nowhere")
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(BrokenArtefact, match="is not valid JSON"):
        records(str(tmp_path / "torn.json"))
    (tmp_path / "number.json").write_text("3")
    with pytest.raises(BrokenArtefact, match="no list of score records"):
        records(str(tmp_path / "number.json"))


def test_a_project_s_own_report_is_found(tmp_path: Path) -> None:
    save_scores(tmp_path / "artifacts" / "report", [FID])
    assert records(str(tmp_path)) == [FID]
