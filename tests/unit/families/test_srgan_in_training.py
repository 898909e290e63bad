"""Content by the reference's extractor, as training hands it over; and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import params
from pipeline.contract import LocalWorld, MemoryReporter
from pipeline.data import packing
from pipeline.data.batches import Reader
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError
from pipeline.experiment import Experiment, fit_and_score
from pipeline.preflight.fits import fits
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import ReferenceSettings
from pipeline.settings import override
from pipeline.training.settings import TrainSettings
from pipeline.types import DataSpec, FieldSpec

SMALL: dict[str, Any] = {"preset": "smoke", "pretraining": 16, "content": {"name": "reference"}}


def test_the_second_segment_looks_through_the_references_extractor(tmp_path: Path) -> None:
    shards, reference = tmp_path / "shards", tmp_path / "reference"
    settings = IngestSettings.model_validate({"limit": 100, "derive": {"low": {"name": "downscale", "factor": 4}}})
    manifest = packing.ingest(settings, shards)
    extractor = ReferenceSettings(extractor={"name": "random_projection"})
    measure(extractor, Reader(shards, "train"), Reader(shards, "holdout"), reference, manifest.sha256)
    train = TrainSettings.model_validate(
        {"family": "srgan", "examples": 32, "batch_size": 16, "lanes": 1, "tick": 16, "checkpoint": 32, "grid": 32}
        | {"score": {"every": 32, "samples": 64}}
    )
    places: dict[str, Any] = {"shards": str(shards), "reference": str(reference), "scratch": str(tmp_path / "scratch")}
    experiment = Experiment(
        train.model_dump(mode="json"), SMALL, cache=str(tmp_path / "cache"), cache_budget=0, grids=False, **places
    )
    reporter = MemoryReporter()
    outcome = fit_and_score(experiment, LocalWorld(), reporter)
    assert outcome.state.segment == 1
    first, second = reporter.ticks
    assert "pretraining/l2" in first
    assert float(second["generator/content"] or 0) > 0


def chosen(content: str) -> params.Params:
    raw = override(
        params.read(Path(__file__).parents[3] / "params.yaml"),
        {
            "train.family": "srgan",
            "families.srgan": {**SMALL, "content": {"name": content}},
            "tune.trials": 0,
            "tune.space": {},
        },
    )
    return params.check(raw)


def test_weights_that_are_not_here_are_missed_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path))
    low = FieldSpec.usual("low", "image", (3, 8, 8), "derived")
    spec = DataSpec("image", (3, 32, 32), ("a", "b"), fields=(low,))
    with pytest.raises(
        SettingsError, match="the weights of vgg19 are not on this machine; `zerosum weights fetch vgg19`"
    ):
        fits(chosen("vgg19"), spec)


def test_content_of_pixels_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path))
    low = FieldSpec.usual("low", "image", (3, 8, 8), "derived")
    fits(chosen("pixels"), DataSpec("image", (3, 32, 32), ("a", "b"), fields=(low,)))
