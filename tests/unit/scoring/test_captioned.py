"""Captions against pictures: the encoder that the reference trains, and whether samples agree with their captions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import captions, plugins
from pipeline.contract import AnyFamily, LocalWorld, MemoryReporter
from pipeline.contract.metric import AnyMetric, Statistics
from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError
from pipeline.experiment import Experiment, fit_and_score, publish
from pipeline.formats.model import ModelCard, save_model
from pipeline.formats.reference import Reference
from pipeline.sampling.samples import SampleSource, open_model
from pipeline.scoring import captioned, text_choice, text_training
from pipeline.scoring.captioned import Regression, captions_of, choices
from pipeline.scoring.evaluate import evaluate
from pipeline.scoring.extract import ShardExamples, inputs_of
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import EvaluateSettings, ReferenceSettings
from pipeline.settings import validate
from pipeline.training.settings import TrainSettings
from pipeline.types import DataSpec

ENCODER = {"name": "char_cnn_rnn", "width": 16, "dimension": 12, "length": 75}
TRAINED = {**ENCODER, "iterations": 3, "batch_size": 8, "distinct": "images"}
COLOURS = {"red": (250, 20, 20), "green": (20, 250, 20), "blue": (20, 20, 250)}
KINDS = ("square", "bar", "spot", "line")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured noise with two captions a picture, half of it held out."""
    root, draw = tmp_path_factory.mktemp("captioned"), np.random.default_rng(0)
    rows = [("file", "caption")]
    (root / "pictures").mkdir()
    for number in range(140):
        colour, kind = list(COLOURS)[number % 3], KINDS[number % 4]
        pixels = np.array(COLOURS[colour]) * draw.uniform(0.5, 1, (8, 8, 1))
        Image.fromarray(pixels.astype(np.uint8)).save(root / "pictures" / f"{number:03d}.png")
        rows += [(f"{number:03d}.png", f"a {colour} {kind}"), (f"{number:03d}.png", f"one {kind}, {colour}")]
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    source = {"name": "image_folder", "folder": str(root / "pictures"), "captions": str(root / "captions.csv")}
    settings = IngestSettings.model_validate({"holdout_fraction": 0.5, "source": {**source, "labels": "none"}})
    packing.ingest(settings, root / "shards")
    return root / "shards"


def measured(shards: Path, out: Path, **keys: Any) -> Reference:
    settings = ReferenceSettings.model_validate({"extractor": {"name": "random_projection"}, "threads": 1, **keys})
    train, holdout = (ShardExamples(shards, split) for split in ("train", "holdout"))
    return measure(settings, train, holdout, out, train.manifest_sha256)


@pytest.fixture(scope="module")
def trained(shards: Path) -> Reference:
    return measured(shards, shards.parent / "trained", text_encoder=TRAINED)


def family_of(encoder: dict[str, Any]) -> AnyFamily:
    keys = {"preset": "smoke", "encoder": encoder, "smallest": 1, "levels": 3}
    return plugins.load("families", {"name": "text_to_image", **keys})


def opened(family: AnyFamily, shards: Path) -> SampleSource:
    spec = packing.Manifest.load(shards).spec
    torch.manual_seed(0)
    networks = {each: network.eval() for each, network in family.build(spec).items() if each in family.averaged}
    return SampleSource(family, networks, spec, inputs=inputs_of(family, shards))


def test_the_reference_holds_the_encoder_and_what_it_is_worth(shards: Path, trained: Reference) -> None:
    about = trained.card.text_encoder
    assert about is not None
    assert about["name"] == "char_cnn_rnn"
    assert trained.card.files is not None
    assert about["sha256"] == trained.card.files["text_encoder.safetensors"]
    assert {"image_to_text_at_1", "text_to_image_at_1", "image_to_text_at_5_chance"} <= set(about["report"]["holdout"])
    assert text_training.described(trained.card).startswith("char_cnn_rnn, trained on ")
    again = measured(shards, trained.folder.parent / "again", text_encoder=TRAINED)
    assert again.key == trained.key
    plain = measured(shards, trained.folder.parent / "plain")
    assert plain.text_encoder() is None
    assert plain.card.extractor_sha256 == trained.card.extractor_sha256
    assert plain.key != trained.key
    assert text_training.described(plain.card) == ""


def test_a_model_reads_sentences_from_its_folder_alone(shards: Path, trained: Reference, tmp_path: Path) -> None:
    family = family_of(ENCODER)
    family.take_encoder(text_training.text_state(family, trained))
    spec = packing.Manifest.load(shards).spec
    networks = family.build(spec)
    states = {each: networks[each].state_dict() for each in family.averaged}
    card = ModelCard(
        "text_to_image", family.config.model_dump(mode="json"), DataSpec.from_json(spec.to_json()), (), 1, 1, 0, True,
        {}, {},
    )  # fmt: skip
    save_model(tmp_path, card, states)
    found = trained.text_encoder()
    assert found is not None
    source, _ = open_model(tmp_path)
    mine: Any = source.networks["encoder"]
    joint = plugins.load("text_encoders", {"name": found.name, **found.config})
    joint.load_state_dict(dict(found.state))
    said = ["a red square", "something else"]
    assert torch.equal(mine.encode(said), joint.encode(said))
    assert not torch.equal(mine.encode(said), plugins.load("text_encoders", ENCODER).encode(said))


def test_training_takes_the_encoder_leaves_it_as_it_is_and_is_scored_by_it(
    shards: Path, trained: Reference, tmp_path: Path
) -> None:
    train = TrainSettings.model_validate(
        {"family": "text_to_image", "examples": 32, "batch_size": 16, "lanes": 2, "tick": 16, "checkpoint": 16}
        | {"grid": 32, "score": {"every": 32, "samples": 64}}
    )
    keys = {"preset": "smoke", "encoder": ENCODER, "smallest": 1, "levels": 3}
    places = {"shards": str(shards), "reference": str(trained.folder), "scratch": str(tmp_path / "scratch")}
    experiment = Experiment(
        train.model_dump(mode="json"), keys, cache=str(tmp_path / "cache"), cache_budget=0, grids=False, **places
    )
    outcome = fit_and_score(experiment, LocalWorld(), MemoryReporter())
    publish(experiment, outcome, tmp_path / "model")
    held = trained.text_encoder()
    assert held is not None
    source, _ = open_model(tmp_path / "model", inputs=inputs_of(family_of(ENCODER), shards))
    for found in (outcome.networks["encoder"].state_dict(), source.networks["encoder"].state_dict()):
        assert all(torch.equal(found[key], held.state[key]) for key in held.state)
    settings = EvaluateSettings.model_validate(
        {"samples": 64, "repeats": 1, "metrics": [{"name": "caption_agreement", "candidates": 12}]}
    )
    result = evaluate(settings, trained, tmp_path / "model", LocalWorld(), inputs=inputs_of(source.family, shards))
    names = {record.name for record in result.records}
    assert {"caption_agreement", "caption_agreement_of_reals", "caption_agreement_at_5"} <= names
    assert all(record.split == "holdout" and record.settings["captions"] == 12 for record in result.records)


def test_a_family_and_the_reference_must_mean_one_encoder(shards: Path, trained: Reference) -> None:
    for keys, says in (({"width": 24}, r"encoder\.width: is 24"), ({"recurrence": "gru"}, r"encoder\.recurrence")):
        with pytest.raises(SettingsError, match=says):
            text_training.text_state(family_of({**ENCODER, **keys}), trained)
    with pytest.raises(SettingsError, match=r"reference\.text_encoder"):
        text_choice.disagreement("text_to_image", ENCODER, None)
    assert family_of({"name": "hashed"}).learnt_encoder is None
    with pytest.raises(SettingsError, match="learns nothing"):
        validate(ReferenceSettings, {"text_encoder": "hashed"}, "reference")


@pytest.mark.parametrize("name", ["char_cnn_rnn", "bag_of_words", "hashed"])
def test_agreement_is_judged_and_says_by_what(name: str, shards: Path, trained: Reference) -> None:
    joint = name == "char_cnn_rnn"
    family = family_of(ENCODER if joint else {"name": name, "dimension": 32})
    reference = trained if joint else measured(shards, trained.folder.parent / f"plain {name}")
    source = opened(family, shards)
    found = captions_of(source, reference, seed=0)
    assert found is not None
    choice = found.choice(64, 12)
    assert choice.settings["judge"] == ("joint_embedding" if joint else "ridge_regression")
    assert choice.made.shape == choice.real.shape == choice.right.shape
    assert choice.right.shape[1] == 12
    assert choice.right.any(axis=1).all()
    metric: AnyMetric = plugins.load("metrics", {"name": "caption_agreement", "limit": 64, "candidates": 12})
    sides: Any = dict.fromkeys(("real", "fake", "holdout"))
    scores = {
        each.name: each
        for each in metric.compute(Statistics(**sides, extractor=reference.card.identity, seed=0, captions=found))
    }
    assert set(scores) == {f"caption_agreement{rank}{whose}" for rank in ("", "_at_5") for whose in ("", "_of_reals")}
    if not joint:  # colours are in the features, kinds are not: a third of the captions fit
        assert scores["caption_agreement_of_reals"].value > 1.5 * scores["caption_agreement"].settings["chance"]
    again = captions_of(source, reference, seed=0)
    assert again is not None
    assert np.array_equal(again.choice(64, 12).made, choice.made)


def test_models_without_words_have_no_agreement(shards: Path, trained: Reference) -> None:
    family: AnyFamily = plugins.load("families", {"name": "dcgan", "preset": "smoke", "conditional": False})
    torch.manual_seed(0)
    spec = DataSpec("image", (3, 16, 16))
    assert captions_of(SampleSource(family, family.build(spec), spec), trained, seed=0) is None


def test_choices_are_different_captions_and_those_of_the_picture_count() -> None:
    said = [["a", "b"], ["b", "c"], ["a", "d"], ["e"]]
    known, right = choices(np.stack([captions.packed(each, 3, 4) for each in said]), 2)
    assert captions.unpacked(known) == ["a", "b"]
    assert right.tolist() == [[True, True], [False, True], [True, False], [False, False]]
    assert captioned._known_first(np.stack([captions.packed(each, 3, 4) for each in said]), known).tolist() == [
        True, True, True, False,
    ]  # fmt: skip


def test_the_regression_finds_a_linear_map() -> None:
    draw = np.random.default_rng(1)
    features = draw.normal(3, 2, (500, 4))
    vectors = features @ draw.normal(size=(4, 6)) + 5
    fits = Regression.fitted(features, vectors).fits(features[:20], vectors[:20])
    assert (fits.argmax(axis=1) == np.arange(20)).all()
    assert np.abs(fits).max() <= 1 + 1e-9
