from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pipeline.formats.report import ExtractorIdentity, ScoreRecord
from pipeline.reporting import gallery
from pipeline.reporting.charts import charts, compact, group, ticks
from pipeline.reporting.comparison import Slider
from pipeline.reporting.gallery import Gallery
from pipeline.reporting.report import ReportInputs, agreements, headlines, number, render, write_report

PNG = gallery.grid(np.zeros((2, 1, 4, 4), dtype=np.uint8), 2)
BASE = ScoreRecord(
    "frechet_classifier", 2.0, 0.1, 100, 100, "train", ExtractorIdentity("classifier", "f" * 64, 64),
    "none", 0, 3, True, 1.0, "0.1.0", "note <b>",
)  # fmt: skip


def record(name: str, value: float) -> ScoreRecord:
    return replace(BASE, name=name, value=value)


RECORDS = [
    BASE,
    record("frechet_classifier_at_holdout_n", 3.0),
    record("frechet_holdout", 4.0),
    record("precision", 0.83),
    record("recall", 0.78),
    record("label_agreement", 0.9995),
    record("memorisation", 0.55),
    record("nearest_train_ratio", 0.95),
]
GALLERY = Gallery(PNG, ("zero", "one"), PNG, PNG, (0.5, 1.0), PNG)
INPUTS = ReportInputs(
    title="digits <dcgan>",
    records=RECORDS,
    gallery=GALLERY,
    grids=[("1,000 examples", PNG)],
    curves=[
        {"examples_seen": 64 * i, "loss/d": 1.0 / i, "loss/g": 2.0, "frechet": 10.0**-i, "seconds": 0.1 * i}
        for i in range(1, 6)
    ],
    trials=[{"trial": 0, "frechet": 2.5}, {"trial": 1, "frechet": 1e6, "reason": "collapse"}],
    settings="train:\n  family: dcgan\n",
    provenance={"manifest": "a" * 64},
    confusion=[("zero", "zero"), ("zero", "one"), ("one", "one")],
    accuracy=0.99,
)


def test_captions_stand_in_the_page_as_text() -> None:
    said = replace(INPUTS, gallery=replace(GALLERY, translated=("output",), captions=("a <b>bird</b>", "a frog")))
    page = render(said)
    assert "<li>a &lt;b&gt;bird&lt;/b&gt;</li>" in page
    assert "<li>a frog</li>" in page
    assert "drawn from" not in render(INPUTS)


SLID = replace(GALLERY, translated=("input", "output"), sliders=(Slider(PNG, PNG, ("input", "output")),))


def test_sliders_are_reached_by_keys_and_need_no_script() -> None:
    page = render(replace(INPUTS, gallery=SLID))
    assert page.count('class="slider" tabindex="0" role="group" aria-label="Row 1: input, then output;') == 1
    assert page.count('alt="output"') == 1
    assert "<h3>Before and after</h3>" in page
    assert "<h3>Before and after</h3>" not in render(INPUTS)


@pytest.mark.parametrize("gallery", [GALLERY, SLID])
def test_the_page_is_whole_and_loads_nothing(gallery: Gallery) -> None:
    page = render(replace(INPUTS, gallery=gallery))
    HTMLParser().feed(page)
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]{1,30})""", page)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    for heading in ("Samples", "Nearest neighbours", "Latent interpolation", "Truncation", "Over training",
                    "Training curves", "All scores", "The search", "Settings", "Provenance"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_the_page_s_own_policy_allows_no_script_and_no_address() -> None:
    head = render(INPUTS).partition("<title>")[0]
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', head)
    assert found
    rules = {rule.split()[0]: rule.split()[1:] for rule in found[1].split(";")}
    assert rules == {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "media-src": ["data:"],
        "style-src": ["'unsafe-inline'"],
        "form-action": ["'none'"],
        "base-uri": ["'none'"],
    }


def test_what_people_wrote_is_escaped() -> None:
    page = render(INPUTS)
    assert "digits &lt;dcgan&gt;" in page
    assert "note &lt;b&gt;" in page


def test_a_text_encoder_that_was_trained_is_told_of() -> None:
    assert "The text encoder" not in render(INPUTS)
    page = render(replace(INPUTS, text_encoder="char_cnn_rnn <b>, R@1 0.5"))
    assert "The text encoder char_cnn_rnn &lt;b&gt;, R@1 0.5" in page


def test_what_is_empty_is_left_out() -> None:
    page = render(ReportInputs("empty", []))
    assert "<h2>" not in page


def test_equal_inputs_give_equal_bytes_and_replace_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "old.txt").write_text("old")
    for name in ("report", "again"):
        write_report(tmp_path / name, INPUTS)
    names = sorted(str(path.relative_to(tmp_path / "report")) for path in (tmp_path / "report").rglob("*.*"))
    assert names == [
        "metrics.json", "plots/confusion.csv", "plots/interpolation.png", "plots/nearest.png", "plots/samples.png",
        "plots/scores.csv", "plots/truncation.png", "report.html", "scores.json",
    ]  # fmt: skip
    for name in names:
        assert (tmp_path / "report" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["recall"] == 0.78
    lines = (tmp_path / "report" / "plots" / "confusion.csv").read_text().splitlines()
    assert lines == ["actual,predicted", "zero,zero", "zero,one", "one,one"]


def test_times_and_rates_stay_out_of_the_page() -> None:
    faster = [{**row, "seconds": 9.0, "examples_per_second": 1.0, "eta": 2.0} for row in INPUTS.curves]
    assert render(replace(INPUTS, curves=faster)) == render(INPUTS)


def test_verdicts_are_plain() -> None:
    found = {headline.label: headline for headline in headlines(RECORDS)}
    assert found["Fréchet distance"].good is True
    assert "nearer to the training data than the same number of held-out" in found["Fréchet distance"].verdict
    worse = headlines([record("frechet_classifier_at_holdout_n", 8.0), record("frechet_holdout", 4.0)])[0]
    assert (worse.good, worse.verdict[:22]) == (False, "2 times as far from tr")
    assert found["label agreement"].value == "0.9995 ± 0.1"
    assert found["memorisation"].good is None
    copying = headlines([record("memorisation", 1.0), record("nearest_train_ratio", 0.1)])[0]
    assert copying.good is False
    assert "suspect copying" in copying.verdict


def test_agreement_by_class() -> None:
    assert agreements(INPUTS.confusion) == [("one", 1.0, ""), ("zero", 0.5, "one")]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (1.23456, "1.235"), (1437, "1,437"), (True, "True"), ("x", "x"), (2e-5, "2e-05")]
)
def test_numbers_are_short(value: object, text: str) -> None:
    assert number(value) == text


def test_charts_group_columns_and_draw_only_lines() -> None:
    found = charts(INPUTS.curves)
    assert [chart.title.split(" ")[0] for chart in found] == ["Fréchet", "losses"]
    assert [name for name, _ in found[1].legend] == ["loss/d", "loss/g"]
    assert found[1].svg.count("<polyline") == 2
    assert charts([{"examples_seen": 1, "frechet": 2.0}]) == []
    assert charts([{"step": 1, "frechet": 2.0}, {"step": 2, "frechet": 2.0}]) == []
    assert charts([]) == []


def test_charts_skip_what_is_missing_or_not_finite() -> None:
    rows = [{"examples_seen": i, "frechet": value} for i, value in enumerate([1.0, None, float("inf"), 2.0, "x"])]
    points = re.search(r'points="([^"]*)"', charts(rows)[0].svg)
    assert points is not None
    assert len(points.group(1).split()) == 2


def test_wide_ranges_are_drawn_logarithmically() -> None:
    svg = charts([{"examples_seen": i, "frechet": 10.0**-i} for i in range(4)])[0].svg
    assert re.findall(r'text-anchor="end">([^<]*)<', svg) == ["0.001", "0.01", "0.1", "1"]


def test_groups_and_marks() -> None:
    assert group("gradient_norm/generator") == "gradient norms"
    assert group("generator/total") == "losses"
    assert group("recall") == group("feature_spread")
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(3, 3)[0] <= 3 <= ticks(3, 3)[-1]
    assert ticks(0, 0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0][: len(ticks(0, 0))]
    assert [compact(value) for value in (5, 1500, 2e6, 3e9)] == ["5", "1.5k", "2M", "3G"]
