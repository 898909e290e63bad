"""Derived fields: declared in the settings, known before work, computed at reading, kept on no disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fields
import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import params, plugins
from pipeline.data import derived, packing
from pipeline.data.batches import Batches, Reader
from pipeline.data.preview import preflight as foreseen
from pipeline.data.settings import IngestSettings
from pipeline.errors import BrokenArtefact, SettingsError
from pipeline.formats.shards import Manifest
from pipeline.preflight.items import items
from pipeline.scoring.extract import ShardExamples, ShardInputs
from pipeline.storage import files
from pipeline.storage.bundles import MANIFEST
from pipeline.types import DataSpec, FieldSpec

BIG = 10**9
DERIVE: dict[str, dict[str, Any]] = {
    "low": {"name": "downscale", "factor": 2},
    "lines": {"name": "edges", "of": "pair"},
    "noisy": {"name": "noise", "std": 0.3},
}
PLAIN = IngestSettings(source={"name": "digits"}, shard_examples=4, holdout_fraction=0.25)
SETTINGS = PLAIN.model_copy(update={"derive": DERIVE})


def packed(folder: Path, settings: IngestSettings = SETTINGS, **config: int) -> Manifest:
    return packing.ingest(settings, folder, source=fields.Source(fields.Config(**config)))


def batch_of(folder: Path, flip: bool = False, **keys: Any) -> dict[str, Tensor]:
    return cast(dict[str, Tensor], Batches(Reader(folder, "train"), 3, flip, **keys).batch(0, 0, 40))


def test_the_spec_says_what_they_are_and_what_they_are_made_of(tmp_path: Path) -> None:
    spec = packed(tmp_path).spec
    assert [replace(each, transform="") for each in spec.derived] == [
        FieldSpec("low", "image", (3, 3, 4), "uint8", True, "derived", "x"),
        FieldSpec("lines", "image", (1, 6, 8), "uint8", True, "derived", "pair"),
        FieldSpec("noisy", "image", (3, 6, 8), "uint8", True, "derived", "x"),
    ]
    assert json.loads(spec.derived[0].transform) == {"name": "downscale", "factor": 2}
    assert json.loads(spec.derived[1].transform) == {"name": "edges", "threshold": None}
    assert Manifest.load(tmp_path).spec == spec


def test_they_take_no_room_and_change_no_shard(tmp_path: Path) -> None:
    plain, with_them = packed(tmp_path / "plain", PLAIN), packed(tmp_path / "derived")
    assert plain.splits == with_them.splits
    for folder in ("plain", "derived"):
        Reader(tmp_path / folder, "train", cache=tmp_path / f"cache-{folder}", cache_budget=BIG)
    caches = [next((tmp_path / f"cache-{each}").glob("*/decoded.bin")).read_bytes() for each in ("plain", "derived")]
    assert caches[0] == caches[1]
    assert "derive" not in plain.packing
    assert with_them.packing["derive"] == DERIVE


def test_readers_make_them_and_batches_mirror_them_with_their_image(tmp_path: Path) -> None:
    packed(tmp_path)
    plain, flipped = batch_of(tmp_path), batch_of(tmp_path, flip=True)
    assert plain.keys() == {"x", "pair", "mask", "thumbnail", "attribute", "text", "age", "low", "lines", "noisy"}
    turned = torch.tensor([not torch.equal(a, b) for a, b in zip(plain["x"], flipped["x"], strict=True)])
    for name in DERIVE:
        expected = plain[name].clone()
        expected[turned] = expected[turned].flip(-1)
        assert torch.equal(flipped[name], expected)
    stored = Reader(tmp_path, "train").examples(np.arange(9))
    assert stored.keys() == {"x", "pair", "mask", "thumbnail", "attribute", "text", "age"}
    again = Reader(tmp_path, "train", cache=tmp_path / "cache", cache_budget=BIG).examples(np.arange(9), DERIVE)
    small = plugins.load("data.transforms", {"name": "downscale", "factor": 2})(stored["x"], np.arange(9))
    assert np.array_equal(again["low"], small)


def test_only_what_a_family_needs_is_computed(tmp_path: Path) -> None:
    packed(tmp_path)
    assert batch_of(tmp_path, derived={"x", "low"}).keys() & DERIVE.keys() == {"low"}
    assert not batch_of(tmp_path, derived=()).keys() & DERIVE.keys()


def test_they_are_summed_up_as_readers_make_them(tmp_path: Path) -> None:
    manifest = packed(tmp_path, items=20)
    assert manifest.spec.summary is not None
    count = manifest.split("train").examples
    reader = Reader(tmp_path, "train")
    found = reader.examples(np.arange(count), DERIVE)
    for each in reader.derived.fields:
        values = each.tensor(found[each.name]).double()
        mine = manifest.spec.summary.fields[each.name]
        assert np.allclose(mine.mean, values.mean((0, 2, 3)), atol=1e-6)
        assert np.allclose(mine.std, values.std((0, 2, 3), correction=0), atol=1e-6)


def test_samples_are_made_from_them(tmp_path: Path) -> None:
    packed(tmp_path, items=20)
    inputs = ShardInputs(ShardExamples(tmp_path, "holdout"), ("low",))
    held = Reader(tmp_path, "holdout")
    numbers = np.arange(3) % len(held)
    assert np.array_equal(inputs(numbers)["low"], held.examples(numbers, ("low",))["low"])
    targets = inputs.targets(numbers)
    assert targets is not None
    assert np.array_equal(targets, held.examples(numbers)["x"])


def test_a_sounds_spectrogram_has_a_mean_for_each_frequency(tmp_path: Path) -> None:
    settings = PLAIN.model_copy(update={"derive": {"notes": {"name": "spectrogram", "window": 8, "hop": 4}}})
    manifest = packing.ingest(settings, tmp_path, source=fields.Sounds(fields.Config()))
    assert manifest.spec.field_shape("notes") == (1, 4, 4)
    assert manifest.spec.summary is not None
    assert len(manifest.spec.summary.fields["notes"].mean) == 4


@pytest.mark.parametrize(
    ("derive", "message"),
    [
        ({"low": {"name": "downscal"}}, r"low\.name: there is no transform '.*'; did you mean 'downscale'"),
        ({"low": {"name": "downscale", "factr": 2}}, r"ingest\.derive\.low\.factr.*did you mean 'factor'"),
        ({"low": {"factor": 2}}, r"ingest\.derive\.low\.name: is required"),
        ({"x": {"name": "grey"}}, r"ingest\.derive\.x: must be a new name"),
        ({"Low": {"name": "grey"}}, r"ingest\.derive\.Low: must be a new name"),
        ({"pair": {"name": "grey"}}, r"ingest\.derive\.pair: the source has a field of this name"),
        ({"low": {"name": "grey", "of": "pairs"}}, r"ingest\.derive\.low\.of: examples hold no .* did you mean 'pair'"),
        ({"low": {"name": "grey", "of": "sketch"}}, r"ingest\.derive\.low\.of: examples hold no 'sketch'"),
        ({"low": {"name": "downscale", "factor": 4}}, r"ingest\.derive\.low: downscale factor: 4 does not divide"),
        ({"low": {"name": "spectrogram"}}, r"ingest\.derive\.low: spectrogram takes a waveform"),
        ({"low": {"name": "grey", "of": "pair"}}, r"ingest\.derive\.low: grey 'pair' is grey already"),
    ],
)  # fmt: skip
def test_mistakes_are_sentences_before_and_after_reading(derive: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = PLAIN.model_copy(update={"derive": derive, "resolution": 6})
    source = fields.Source(fields.Config(others=9))
    with pytest.raises(SettingsError, match=message):
        packing.ingest(settings, tmp_path, source=source)
    if "pair' is grey" not in message:  # which channels the pair has is not known before
        with pytest.raises(SettingsError, match=message):
            foreseen(settings, source).spec(3)


def test_they_are_known_before_anything_is_read() -> None:
    settings = PLAIN.model_copy(update={"derive": {**DERIVE, "tiny": {"name": "downscale", "of": "thumbnail"}}})
    source = fields.Source(fields.Config())
    unknown = foreseen(settings, source).spec(3)
    assert [each.name for each in unknown.derived] == ["low", "lines", "noisy", "tiny"]
    known = foreseen(settings.model_copy(update={"resolution": (6, 8)}), source).spec(3)
    assert {each.name: each.shape for each in known.derived} == {
        "low": (3, 3, 4),
        "lines": (1, 6, 8),
        "noisy": (3, 6, 8),
        "tiny": (3, 6, 8),
    }


def test_params_and_check_see_them() -> None:
    raw: dict[str, Any] = {"ingest": {"derive": {"low": {"name": "downscale", "factor": 3}}}}
    with pytest.raises(SettingsError, match=r"ingest\.derive\.low: downscale factor: 3 does not divide .* 8×8"):
        items(params.check(raw))
    items(params.check({"ingest": {"derive": {"low": {"name": "downscale"}}}}))
    with pytest.raises(SettingsError, match=r"ingest\.derive\.low\.name: there is no transform"):
        params.check({"ingest": {"derive": {"low": {"name": "upscale"}}}})


@pytest.mark.parametrize(
    "change",
    [{"shape": [3, 6, 8]}, {"transform": {"name": "nothing"}}, {"transform": {"name": "downscale", "factor": 64}}],
)
def test_a_manifest_whose_derived_field_is_none_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    packed(tmp_path)
    held = json.loads((tmp_path / MANIFEST).read_text())
    (low,) = (each for each in held["spec"]["fields"] if each["name"] == "low")
    low |= change
    files.write_json(tmp_path / MANIFEST, held)
    with pytest.raises(BrokenArtefact, match="'low'"):
        Reader(tmp_path, "train")


def test_the_other_domain_has_none(tmp_path: Path) -> None:
    packed(tmp_path, others=9)
    assert Reader(tmp_path, "unpaired_train").derived.fields == ()
    assert "sketch" in batch_of(tmp_path)


def test_fields_are_looked_up_once(tmp_path: Path) -> None:
    """`fields` and a reader agree on any spec."""
    spec = DataSpec("image", (3, 6, 8))
    made = derived.fields({"low": DERIVE["low"]}, (spec.x,))
    opened = derived.Derived(made, (spec.x,))
    assert opened.fields == made
    assert opened.computed({"x": np.zeros((2, 3, 6, 8), np.uint8)}, np.arange(2), ()) == {}
