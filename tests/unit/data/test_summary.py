"""The summary of the data: closed forms, exact order, what is left out of it, and the way to a family's `build`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fields
import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import plugins
from pipeline.contract import LocalWorld, MemoryReporter
from pipeline.data import packing, summary
from pipeline.data.batches import Batches, Reader
from pipeline.data.settings import IngestSettings
from pipeline.errors import BrokenArtefact
from pipeline.experiment import Experiment, fit_and_score, publish
from pipeline.formats.shards import Manifest
from pipeline.sampling.samples import open_model
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import ReferenceSettings
from pipeline.storage import files
from pipeline.storage.bundles import MANIFEST
from pipeline.training.settings import TrainSettings
from pipeline.types import DataSpec, DataSummary, FieldSpec, like_x

SETTINGS = IngestSettings(source={"name": "digits"}, shard_examples=4, holdout_fraction=0.25)


def summed(manifest: Manifest) -> DataSummary:
    assert manifest.spec.summary is not None
    return manifest.spec.summary


def batch_of(folder: Path, count: int) -> dict[str, Tensor]:
    return cast(dict[str, Tensor], Batches(Reader(folder, "train"), 0).batch(0, 0, count))


def check(found: DataSummary, name: str, batch: Tensor, channels: int) -> None:
    """Against the same in one go, of what batches hold."""
    values = batch.double().reshape(len(batch), channels, -1)
    mine = found.fields[name]
    assert len(mine.mean) == channels
    assert np.allclose(mine.mean, values.mean((0, 2)), atol=1e-7)
    assert np.allclose(mine.std, values.std((0, 2), correction=0), atol=1e-7)
    assert np.allclose(mine.min, values.amin((0, 2)), atol=1e-7)
    assert np.allclose(mine.max, values.amax((0, 2)), atol=1e-7)


def test_it_is_that_of_the_training_examples_as_batches_hold_them(tmp_path: Path) -> None:
    manifest = packing.ingest(SETTINGS, tmp_path, source=fields.Source(fields.Config(others=9)))
    found = summed(manifest)
    assert set(found.fields) == {"x", "pair", "mask", "thumbnail", "attribute", "sketch"}, "whole numbers have no mean"
    batch = batch_of(tmp_path, manifest.split("train").examples)
    for name, channels in {"x": 3, "pair": 1, "mask": 1, "thumbnail": 3, "attribute": 3}.items():
        check(found, name, batch[name], channels)
    apart = manifest.split("unpaired_train").examples
    check(
        found, "sketch", cast(dict[str, Tensor], Batches(Reader(tmp_path, "train"), 0).batch(0, 0, apart))["sketch"], 1
    )


def test_digits_are_in_both_signs(tmp_path: Path) -> None:
    found = summed(packing.ingest(IngestSettings(limit=200), tmp_path))
    assert (found.fields["x"].min, found.fields["x"].max) == ((-1.0,), (1.0,))
    check(found, "x", batch_of(tmp_path, 160)["x"], 1)


def test_neither_the_workers_nor_the_time_change_a_bit(tmp_path: Path) -> None:
    def side_by_side(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterable[Any]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(function, tasks))

    source = fields.Sounds(fields.Config(items=40))
    first = packing.ingest(SETTINGS, tmp_path / "a", source=source)
    second = packing.ingest(SETTINGS, tmp_path / "b", source=source, map_shards=side_by_side)
    assert (tmp_path / "a" / MANIFEST).read_bytes() == (tmp_path / "b" / MANIFEST).read_bytes()
    assert first.sha256 == second.sha256


def test_the_manifest_gives_it_back_and_its_hash_stays(tmp_path: Path) -> None:
    manifest = packing.ingest(SETTINGS, tmp_path, source=fields.Sounds(fields.Config()))
    again = Manifest.load(tmp_path)
    assert again.spec.summary == manifest.spec.summary
    assert again.sha256 == manifest.sha256


def test_without_examples_and_in_older_manifests_there_is_none(tmp_path: Path) -> None:
    empty = packing.ingest(IngestSettings(source={"name": "synthetic"}), tmp_path / "empty")
    assert empty.spec.summary is None
    packing.ingest(SETTINGS, tmp_path / "older", source=fields.Sounds(fields.Config()))
    path = tmp_path / "older" / MANIFEST
    held = json.loads(path.read_text())
    del held["summary"]
    held["spec"]["fields"] = {each["name"]: each["shape"] for each in held["spec"]["fields"]}
    files.write_json(path, held)
    older = Manifest.load(tmp_path / "older")
    assert older.spec.summary is None
    assert [each.kind for each in older.spec.fields] == ["waveform", "waveform"]


def test_equal_data_is_known_by_one_hash_in_every_version(tmp_path: Path) -> None:
    made = packing.ingest(SETTINGS, tmp_path, source=fields.Sounds(fields.Config()))
    pairs = like_x({"clean": (1, 16)}, "waveform", "float32")
    for spec in (replace(made.spec, fields=()), replace(made.spec, fields=pairs)):
        now = replace(made, spec=spec)
        now.save(tmp_path)
        held = json.loads((tmp_path / MANIFEST).read_text())
        del held["summary"]
        if spec.fields:
            held["spec"]["fields"] = {"clean": [1, 16]}
        older = files.sha256_json(held)
        files.write_json(tmp_path / MANIFEST, held)
        assert Manifest.load(tmp_path).sha256 == now.sha256 == older
    assert made.sha256 != replace(made, spec=replace(made.spec, fields=pairs)).sha256


@pytest.mark.parametrize(
    "change", [{"mean": [1.0, 2.0]}, {"std": [-1.0]}, {"min": ["0"]}, {"max": [float("inf")]}, {"mode": [0.0]}]
)
def test_a_summary_of_another_form_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    packing.ingest(SETTINGS, tmp_path, source=fields.Sounds(fields.Config()))
    held = json.loads((tmp_path / MANIFEST).read_text())
    held["summary"]["fields"]["x"] |= change
    (tmp_path / MANIFEST).write_text(json.dumps(held))
    with pytest.raises(BrokenArtefact, match="summary"):
        Manifest.load(tmp_path)


def test_it_changes_neither_equality_nor_json() -> None:
    plain = DataSpec("image", (1, 8, 8))
    held = DataSpec("image", (1, 8, 8), summary=DataSummary({}))
    assert (plain, hash(plain), plain.to_json()) == (held, hash(held), held.to_json())


# --- sums ---------------------------------------------------------------------------------------


def sums_of(spec: FieldSpec, values: np.ndarray[Any, Any]) -> summary.Sums:
    found: dict[str, summary.Sums] = {}
    for each in values:
        found = summary.merged(found, {"f": summary.Sums.of(spec, each)})
    return found["f"]


def test_constants_have_no_spread_at_all() -> None:
    found = sums_of(FieldSpec.usual("f", "image", (1, 4, 4)), np.full((9, 1, 4, 4), 77, np.uint8))
    assert (found.mean[0], found.squares[0], found.least[0], found.most[0]) == (77, 0, 77, 77)
    assert found.count == 9 * 16


def test_no_digits_are_lost_where_the_mean_is_far_from_0() -> None:
    drawn = np.random.default_rng(0).integers(-3, 4, (1000, 2)).astype(np.float32)
    found = sums_of(FieldSpec.usual("f", "rows", (2,)), drawn + np.float32(2**20))
    assert np.allclose(np.sqrt(found.squares / found.count), drawn.astype(np.float64).std(axis=0), rtol=1e-12)


def test_a_spectrogram_has_a_mean_for_each_frequency_and_a_vast_field_one_for_all() -> None:
    assert summary.channels(FieldSpec.usual("f", "spectrogram", (2, 5, 7))) == 10
    assert summary.channels(FieldSpec.usual("f", "waveform", (2, 5))) == 2
    assert summary.channels(FieldSpec.usual("f", "tensor", ())) == 1
    assert summary.channels(FieldSpec.usual("f", "rows", (20_000,))) == 1


def test_a_field_with_a_nan_has_no_summary() -> None:
    spec = DataSpec("rows", (2,), dtype="float32", fields=(FieldSpec.usual("f", "tensor", (1,)),))
    whole = summary.Sums.of(spec.x, np.zeros(2, np.float32))
    torn = summary.Sums.of(spec.fields[0], np.array([np.nan], np.float32))
    found = summary.summary(spec, {"x": whole, "f": torn}, {})
    assert found is not None
    assert set(found.fields) == {"x"}


# --- to build -----------------------------------------------------------------------------------


def test_build_sees_it_in_training_and_when_a_published_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, reference = tmp_path / "shards", tmp_path / "reference"
    manifest = packing.ingest(IngestSettings(limit=100), shards)
    extractor = ReferenceSettings(extractor={"name": "random_projection"})
    measure(extractor, Reader(shards, "train"), Reader(shards, "holdout"), reference, manifest.sha256)
    train = TrainSettings.model_validate(
        {"family": "gan", "examples": 32, "batch_size": 16, "lanes": 1, "tick": 16, "checkpoint": 32, "grid": 32}
        | {"score": {"every": 32, "samples": 64}}
    )
    small = {"preset": "smoke"}
    places = {"shards": str(shards), "reference": str(reference), "scratch": str(tmp_path / "scratch")}
    experiment = Experiment(
        train.model_dump(mode="json"), small, cache=str(tmp_path / "cache"), cache_budget=0, grids=False, **places
    )
    family: Any = plugins.module("families", "gan").Family
    seen: list[DataSummary | None] = []
    build = family.build

    def noting(self: Any, spec: DataSpec) -> Any:
        seen.append(spec.summary)
        return build(self, spec)

    monkeypatch.setattr(family, "build", noting)
    outcome = fit_and_score(experiment, LocalWorld(), MemoryReporter())
    assert seen
    assert set(map(id, seen))
    assert all(each == manifest.spec.summary for each in seen)
    assert publish(experiment, outcome, tmp_path / "plain").spec.summary is None
    assert open_model(tmp_path / "plain")[0].spec.summary is None
    assert b"summary" not in (tmp_path / "plain" / "model.json").read_bytes()
    monkeypatch.setattr(family, "reads_summary", True)
    publish(experiment, outcome, tmp_path / "model")
    seen.clear()
    source, card = open_model(tmp_path / "model")
    assert card.spec.summary == source.spec.summary == manifest.spec.summary
    assert seen
    assert all(each == manifest.spec.summary for each in seen)
    assert torch.equal(source.chunk(0, 0), open_model(tmp_path / "plain")[0].chunk(0, 0))
