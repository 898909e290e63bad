from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from measured_toys import SPEC, Halves, on_ranks

from pipeline import plugins
from pipeline.contract import LocalWorld
from pipeline.errors import SettingsError, UserError
from pipeline.formats.model import ModelCard, save_model
from pipeline.formats.reference import Reference
from pipeline.scoring import reference as measuring
from pipeline.scoring.evaluate import confusion, evaluate
from pipeline.scoring.settings import EvaluateSettings, ReferenceSettings
from pipeline.settings import validate
from pipeline.types import DataSpec

SETTINGS = EvaluateSettings(samples=130, repeats=2)
NAMES = [
    "frechet_classifier",
    "frechet_classifier_at_holdout_n",
    "frechet_holdout",
    "score_classifier",
    "kernel_classifier",
    "precision",
    "recall",
    "f1",
    "density",
    "coverage",
    "label_agreement",
    "memorisation",
    "nearest_train_ratio",
]


def publish(folder: Path, conditional: bool = True, spec: DataSpec = SPEC, broken: bool = False) -> Path:
    family = plugins.load("families", {"name": "gan", "conditional": conditional})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state = family.build(spec)["generator"].state_dict()
    if broken:
        state = {
            name: tensor * float("nan") if tensor.is_floating_point() else tensor for name, tensor in state.items()
        }
    card = ModelCard("gan", family.config.model_dump(mode="json"), spec, (), 0, 0, 0, True, {}, {})
    save_model(folder, card, {"generator": state})
    return folder


def test_every_promised_score_is_there_with_its_protocol(tmp_path: Path, measured: Reference) -> None:
    found = evaluate(SETTINGS, measured, publish(tmp_path), LocalWorld())
    records = {record.name: record for record in found.records}
    assert list(records) == NAMES
    assert all(np.isfinite(record.value) for record in found.records)
    distance = records["frechet_classifier"]
    assert (distance.n_real, distance.n_fake, distance.repeats, distance.split) == (160, 130, 2, "train")
    assert distance.spread is not None
    assert distance.spread > 0
    assert distance.extractor.sha256 == measured.card.extractor_sha256
    assert records["frechet_holdout"].spread == 0
    assert records["frechet_classifier_at_holdout_n"].n_fake == records["frechet_holdout"].n_fake == 48
    pairs = confusion(found.seen, SPEC.classes)
    assert len(pairs) == 130
    agreeing = np.mean([asked == got for asked, got in pairs])
    single = evaluate(SETTINGS.model_copy(update={"repeats": 1}), measured, tmp_path, LocalWorld()).records
    assert {record.spread for record in single if not record.name.startswith("kernel")} == {None}
    assert {record.name: record.value for record in single}["label_agreement"] == pytest.approx(agreeing)


def test_any_number_of_ranks_gives_the_same_records(tmp_path: Path, measured: Reference) -> None:
    model = publish(tmp_path)
    alone = evaluate(SETTINGS, measured, model, LocalWorld()).records
    for size in (2, 3):
        for answer in on_ranks(size, lambda world: evaluate(SETTINGS, measured, model, world).records):
            assert answer == alone


def test_an_unconditional_model_has_no_label_agreement(tmp_path: Path, measured: Reference) -> None:
    found = evaluate(SETTINGS, measured, publish(tmp_path, conditional=False), LocalWorld())
    assert [record.name for record in found.records] == [name for name in NAMES if name != "label_agreement"]


def test_without_a_classifier_names_and_metrics_follow(tmp_path: Path, halves: tuple[Halves, Halves]) -> None:
    settings = ReferenceSettings(extractor={"name": "random_projection", "dimension": 8})
    reference = measuring.measure(settings, *halves, tmp_path / "reference", "ab" * 32)
    found = evaluate(SETTINGS, reference, publish(tmp_path / "model"), LocalWorld())
    names = [record.name for record in found.records]
    assert names[0] == "frechet_random_projection"
    assert not {"score_classifier", "label_agreement", "score_random_projection"} & set(names)
    assert confusion(found.seen, SPEC.classes) == []


def test_by_default_there_are_as_many_samples_as_train_has(tmp_path: Path, measured: Reference) -> None:
    settings = EvaluateSettings(repeats=1, metrics=[{"name": "precision_recall"}])
    found = evaluate(settings, measured, publish(tmp_path), LocalWorld())
    assert {(record.n_real, record.n_fake) for record in found.records} == {(160, 160)}


def test_a_model_of_other_data_is_refused(tmp_path: Path, measured: Reference) -> None:
    model = publish(tmp_path, spec=DataSpec("image", (1, 16, 16), SPEC.classes))
    with pytest.raises(UserError, match=r"the model makes \(1, 16, 16\), the reference measured \(1, 8, 8\)"):
        evaluate(SETTINGS, measured, model, LocalWorld())


def test_a_broken_model_is_refused(tmp_path: Path, measured: Reference) -> None:
    with pytest.raises(UserError, match="130 of 130 samples hold non-finite numbers"):
        evaluate(SETTINGS, measured, publish(tmp_path, broken=True), LocalWorld())


def test_measuring_twice_gives_the_same_bytes(tmp_path: Path, halves: tuple[Halves, Halves]) -> None:
    settings = ReferenceSettings(extractor={"name": "classifier", "examples": 320, "width": 4, "dimension": 4})
    for name in ("one", "two"):
        measuring.measure(settings, *halves, tmp_path / name, "ab" * 32)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_split_too_small_is_refused(tmp_path: Path, halves: tuple[Halves, Halves]) -> None:
    with pytest.raises(SettingsError, match="holdout holds 1"):
        measuring.measure(ReferenceSettings(), halves[0], Halves(1, 0), tmp_path / "reference", "ab" * 32)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (ReferenceSettings, {"extractor": {"name": "clasifier"}}, "did you mean 'classifier'"),
        (ReferenceSettings, {"extractor": {"name": "classifier", "widht": 3}}, "did you mean 'width'"),
        (ReferenceSettings, {"extractor": {}}, "name: is required"),
        (EvaluateSettings, {"metrics": [{"name": "fid"}]}, "there is no metric 'fid'"),
        (EvaluateSettings, {"truncations": []}, "at least one number"),
        (EvaluateSettings, {"samples": 3}, "must be 16 or above"),
        (EvaluateSettings, {"gallery": {"step": 3}}, "did you mean 'steps'"),
    ],
)
def test_wrong_settings_are_named(model: type, data: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate(model, data, "section")
