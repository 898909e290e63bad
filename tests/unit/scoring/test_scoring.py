from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inceptions import random_state
from measured_toys import SPEC, Halves
from PIL import Image
from safetensors.torch import save_file
from test_evaluate import publish

from pipeline.contract.moments import Moments
from pipeline.errors import UserError
from pipeline.formats.model import load_card, load_states, save_model
from pipeline.formats.reference import Reference
from pipeline.formats.report import ScoreRecord, dumps, parse, unlike
from pipeline.metrics import frechet
from pipeline.networks.architectures.inception import fold
from pipeline.scoring.extract import Mapped, in_threads, one_by_one
from pipeline.scoring.inputs import ModelInput, Opening, open_input, sampled
from pipeline.scoring.score import Execution, Request, Scored, score
from pipeline.scoring.settings import PathLengthSettings

DRAW = np.random.default_rng(0)
A, B = DRAW.normal(size=(90, 4)), DRAW.normal(0.5, 1.5, size=(120, 4))
PIXELS: dict[str, Any] = {"name": "random_projection", "dimension": 6}


def opening(**changed: Any) -> Opening:
    return Opening(lambda uri: Path(uri), lambda name: lambda done, total: None, **changed)


def run(real: Path | str | None, fake: Path | str, *metrics: str, mapped: Mapped = one_by_one, **keys: Any) -> Scored:
    if metrics:
        keys = {"metrics": [{"name": name} for name in metrics], "strict": True, **keys}
    request = Request(None if real is None else str(real), str(fake), **keys)
    return score(request, Execution(opening(), mapped))


def by_name(found: Scored) -> dict[str, ScoreRecord]:
    return {record.name: record for record in found.records}


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    np.save(tmp_path / "a.npy", A)
    np.save(tmp_path / "b.npy", B)
    return tmp_path / "a.npy", tmp_path / "b.npy"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, seed, n in (("real", 0, 100), ("fake", 1, 80)):
        halves = Halves(n, seed)
        for index, (image, label) in enumerate(zip(halves.x, halves.labels, strict=True)):
            path = folder / name / ("left", "right")[label] / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(path)
    return folder / "real", folder / "fake"


# --- ready features and statistics ----------------------------------------------------------------


def test_ready_features_give_every_score_of_features(tables: tuple[Path, Path]) -> None:
    found = by_name(run(*tables))
    assert list(found) == [
        "frechet_features", "kernel_features", "precision", "recall", "f1", "density", "coverage"
    ]  # fmt: skip
    distance = found["frechet_features"]
    assert distance.value == pytest.approx(frechet.distance(Moments.of(A), Moments.of(B)), rel=1e-12)
    assert (distance.n_real, distance.n_fake, distance.split, distance.resize) == (90, 120, None, None)
    assert (distance.extractor.name, distance.extractor.sha256, distance.extractor.dimension) == ("features", "", 4)
    assert (distance.ema, distance.truncation, distance.repeats) == (None, None, 1)


def test_statistics_stand_for_features_where_moments_suffice(tables: tuple[Path, Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=A.mean(axis=0), sigma=np.cov(A, rowvar=False))
    (record,) = run(tmp_path / "a.npz", tables[1]).records
    assert record.value == pytest.approx(run(*tables, "frechet").records[0].value, rel=1e-12)
    assert record.n_real is None
    assert "the reals are a.npz" in record.note
    with pytest.raises(
        UserError, match=r"needs the features themselves, and --real .*a\.npz holds mean and covariance"
    ):
        run(tmp_path / "a.npz", tables[1], "kernel")
    with pytest.raises(UserError, match="needs class predictions"):
        run(tables[0], tmp_path / "a.npz", "inception_score")


def test_logits_and_probabilities_are_told_apart(tmp_path: Path) -> None:
    logits = DRAW.normal(size=(100, 5)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.save(tmp_path / "logits.npy", logits)
    np.save(tmp_path / "p.npy", p)
    np.savez(tmp_path / "both.npz", features=A, probabilities=p[:90])
    by_hand = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    for name in ("logits.npy", "p.npy"):
        (record,) = run(None, tmp_path / name, "inception_score").records
        assert record.name == "score_features"
        assert record.value == pytest.approx(by_hand, rel=1e-12)
        assert (record.n_real, record.real) == (0, "")
    found = by_name(run(tmp_path / "both.npz", tmp_path / "both.npz"))
    assert {"frechet_features", "score_features"} <= set(found)
    with pytest.raises(UserError, match="holds one table"):
        run(tmp_path / "logits.npy", tmp_path / "logits.npy", "frechet", "inception_score")


def test_shuffled_parts_leave_labels_where_they_are(tmp_path: Path) -> None:
    classes = np.repeat(np.arange(4), 30)
    np.savez(tmp_path / "a.npz", logits=np.eye(4)[classes] * 1000, labels=np.where(np.arange(120) < 6, 3, classes))
    found = by_name(run(None, tmp_path / "a.npz", "inception_score", "label_agreement", seed=3))
    assert found["label_agreement"].value == pytest.approx(114 / 120)
    assert found["score_features"].value == pytest.approx(4)
    np.savez(tmp_path / "b.npz", logits=np.eye(4)[classes], labels=np.where(np.arange(120) < 6, -1, classes))
    with pytest.raises(UserError, match="a class of the reals for each sample, and 6 have none"):
        run(None, tmp_path / "b.npz", "label_agreement")


def test_fewer_are_chosen_by_the_seed(tables: tuple[Path, Path]) -> None:
    first, again, other = (run(*tables, "frechet", n=50, seed=seed).records[0] for seed in (0, 0, 1))
    assert first == again
    assert (first.n_real, first.n_fake) == (50, 50)
    assert first.value != other.value
    assert unlike(first, other)[0] == "seed: 0 | 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.ones((3, 4, 5)), r"float64 \(3, 4, 5\); rows of numbers"),
        (np.array([["a", "b"]]), "rows of numbers"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.ones((1, 4)), "holds 1; statistics need at least 2"),
        (np.ones((20, 3)), "has 3 dimensions, and the other side has 4: these are statistics of another extractor"),
    ],
)
def test_tables_that_cannot_be_scored_are_refused(
    tables: tuple[Path, Path], tmp_path: Path, content: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "bad.npy", content)
    with pytest.raises(UserError, match=message):
        run(tables[0], tmp_path / "bad.npy", "frechet")


def test_what_is_nothing_is_refused(tables: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(UserError, match=r"is a \.csv file; give a folder of images"):
        run(tmp_path / "x.csv", tables[0])
    with pytest.raises(UserError, match="there is no such file or folder"):
        run(tmp_path / "absent", tables[0])
    with pytest.raises(UserError, match="compares with reals, and there is no --real"):
        run(None, tables[0], "frechet")


# --- images ---------------------------------------------------------------------------------------


def test_threads_and_blocks_give_the_same_bytes(pictures: tuple[Path, Path]) -> None:
    alone = run(*pictures, extractor=PIXELS)
    for threads in (1, 3):
        assert dumps(run(*pictures, extractor=PIXELS, mapped=in_threads(threads)).records) == dumps(alone.records)
    assert alone.records[0].name == "frechet_random_projection"
    assert parse(json.loads(dumps(alone.records)), "here") == alone.records


def test_reals_are_not_looked_at_twice(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    first = run(*pictures, extractor=PIXELS, cache=tmp_path)
    assert first.said == []
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 1
    again = run(*pictures, extractor=PIXELS, cache=tmp_path)
    assert "statistics of this very content were kept" in again.said[0]
    assert again.records == first.records
    run(pictures[1], pictures[0], extractor=PIXELS, cache=tmp_path)
    run(*pictures, extractor={**PIXELS, "dimension": 7}, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    (kept[0] / "moments.safetensors").write_bytes(b"torn")
    mended = run(*pictures, extractor=PIXELS, cache=tmp_path)
    assert "kept statistics are not used" in mended.said[0]
    assert mended.records == first.records


def test_classes_of_folders_are_their_sub_folders(pictures: tuple[Path, Path]) -> None:
    (record,) = run(*pictures, "intra_class_frechet", extractor=PIXELS).records
    assert record.name == "intra_class_frechet_random_projection"
    with pytest.raises(UserError, match=r"--real .*left has none|needs labels"):
        run(pictures[0] / "left", pictures[1] / "left", "intra_class_frechet", extractor=PIXELS)


def draw_pictures(folder: Path, *shapes: tuple[int, ...]) -> Path:
    """Pictures of these (height, width) or (height, width, channels)."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, shape in enumerate(shapes):
        Image.fromarray(DRAW.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def test_one_size_is_wanted_by_those_that_cannot_resize(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    mixed = draw_pictures(tmp_path / "mixed", (8, 8), (8, 8), (9, 9))
    with pytest.raises(
        UserError, match=r"one shape, 1×8×8, and .*1×9×9; .* with --size 8, or take --extractor inception"
    ):
        run(pictures[0], mixed, extractor=PIXELS)
    oblong = draw_pictures(tmp_path / "oblong", (6, 8), (6, 8))
    with pytest.raises(UserError, match=r"one size with --size 6x8, or"):
        run(oblong, pictures[0], extractor=PIXELS)
    colour = draw_pictures(tmp_path / "colour", (9, 9, 3), (9, 9, 3))
    with pytest.raises(UserError, match="bring all to as many channels first, or take --extractor inception"):
        run(pictures[0], colour, extractor=PIXELS)
    with pytest.raises(UserError, match="is trained on labelled shards"):
        run(*pictures, extractor={"name": "classifier"})


def test_both_sides_are_brought_to_one_size(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    mixed = draw_pictures(tmp_path / "mixed", (8, 8), (16, 12), (5, 9), (8, 8))
    (record,) = run(pictures[0], mixed, "frechet", extractor=PIXELS, size=(8, 8)).records
    assert record.settings == {"size": "8x8", "size_filter": "bicubic"}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for path in sorted(pictures[0].rglob("*.png")):
        with Image.open(path) as image:
            image.resize((6, 4), Image.Resampling.BICUBIC).save(tmp_path / "a" / f"{path.parent.name}{path.name}")
    for path in sorted(mixed.iterdir()):
        with Image.open(path) as image:
            image.resize((6, 4), Image.Resampling.BICUBIC).save(tmp_path / "b" / path.name)
    smaller = run(pictures[0], mixed, "frechet", extractor=PIXELS, size=(4, 6)).records[0]
    by_hand = run(tmp_path / "a", tmp_path / "b", "frechet", extractor=PIXELS).records[0]
    assert smaller.value == by_hand.value
    assert unlike(record, smaller)[-1] == "settings.size: 8x8 | 4x6"
    for mapped in (one_by_one, in_threads(2)):
        again = run(pictures[0], mixed, "frechet", extractor=PIXELS, size=(4, 6), mapped=mapped)
        assert again.records == [smaller]


def test_statistics_of_one_size_are_not_taken_for_those_of_another(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    # Three sizes, of which two have as many pixels.
    values = [
        run(*pictures, "frechet", extractor=PIXELS, cache=tmp_path, size=size).records[0].value
        for size in (None, (4, 6), (6, 4), (4, 6))
    ]
    assert len(list(tmp_path.iterdir())) == 3
    assert values[1] == values[3]
    assert len(set(values)) == 3


def test_a_reference_keeps_its_own_size(tmp_path: Path, measured: Reference) -> None:
    larger = draw_pictures(tmp_path / "larger", *[(12, 12)] * 60)
    with pytest.raises(UserError, match=r"with --size 8$"):
        run(measured.folder, larger, "frechet")
    assert run(measured.folder, larger, "frechet", size=(8, 8)).records[0].n_fake == 60
    with pytest.raises(UserError, match=r"--real .* was measured of examples of 8×8; take --size 8$"):
        run(measured.folder, larger, "frechet", size=(16, 16))


def test_a_model_and_its_holdout_are_resized_too(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    model = publish(tmp_path / "model")
    larger = draw_pictures(tmp_path / "larger", *[(12, 12)] * 60)
    (record,) = run(larger, model, "frechet", extractor=PIXELS, size=(12, 12)).records
    assert (record.n_real, record.n_fake, record.settings["size"]) == (60, 60, "12x12")
    keys: dict[str, Any] = {"metrics": [], "strict": True, "path_length": PathLengthSettings(samples=64), "n": 64}
    with pytest.raises(UserError, match="path_length: it walks through a model's own images; leave --size out"):
        run(pictures[0], model, extractor=PIXELS, size=(4, 4), **keys)


def test_what_holds_no_images_has_no_size(tables: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="--size: neither side holds images"):
        run(*tables, "frechet", size=(8, 8))


@pytest.mark.slow
def test_the_inception_network_takes_any_size_and_says_so(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(fold(random_state()), weights)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for index in range(6):
        x = DRAW.integers(0, 256, (8 + index % 2, 9, 3), dtype=np.uint8)
        Image.fromarray(x if index else x[:, :, 0]).save(mixed / f"{index}.png")
    extractor = {"name": "inception", "weights": str(weights), "tap": 64}
    (record,) = run(mixed, mixed, "frechet", extractor=extractor).records
    assert record.name == "frechet_inception"
    assert record.value == pytest.approx(0, abs=1e-6)
    assert (record.resize, record.extractor.tap, record.extractor.published) == ("legacy_torch", 64, False)
    assert any("3 sizes" in line or "2 sizes" in line for line in record.warnings)
    other = run(mixed, mixed, "frechet", extractor={**extractor, "batch_size": 1}).records[0]
    assert unlike(record, other) == []
    with pytest.raises(UserError, match="take --tap 2048"):
        run(mixed, mixed, "inception_score", extractor=extractor)


# --- models and references ------------------------------------------------------------------------


def test_a_model_is_sampled_against_a_reference(tmp_path: Path, measured: Reference) -> None:
    model = publish(tmp_path / "model")
    found = by_name(run(measured.folder, model))
    assert found["frechet_classifier"].n_fake == 160
    assert found["frechet_classifier"].split == "train"
    assert found["frechet_classifier"].real == measured.card.manifest_sha256
    assert found["score_classifier"].n_real == 0
    assert (found["precision"].ema, found["precision"].truncation) == (True, 1.0)
    few = by_name(run(measured.folder, model, "frechet", "memorisation", n=70, truncation=0.5))
    assert few["frechet_classifier"].n_fake == 70
    assert few["frechet_classifier"].truncation == 0.5
    assert "memorisation" in few
    holdout = run(f"{measured.folder}:holdout", model, "frechet").records[0]
    assert (holdout.split, holdout.n_real) == ("holdout", 48)
    with pytest.raises(UserError, match="holds statistics of another extractor: 'classifier'"):
        run(measured.folder, model, extractor=PIXELS)


def test_classes_are_matched_by_name_whatever_their_order(tmp_path: Path, measured: Reference) -> None:
    """A model whose classes are numbered the other way round, and that has one more, draws and scores the same."""
    model = publish(tmp_path / "model")
    state = load_states(model, load_card(model))["generator"]
    # The first layer's columns of the label come last.
    weight = state["stack.hidden.0.weight"]
    swapped = torch.cat([weight[:, :-2], torch.zeros(len(weight), 1), weight[:, [-1, -2]]], dim=1)
    card = replace(load_card(model), spec=replace(SPEC, classes=("more", "right", "left")))
    save_model(tmp_path / "other", card, {"generator": {**state, "stack.hidden.0.weight": swapped}})
    named = ("frechet", "label_agreement", "intra_class_frechet")
    first, other = (by_name(run(measured.folder, each, *named)) for each in (model, tmp_path / "other"))
    assert list(first) == list(other)
    assert 0.2 < first["label_agreement"].value < 1
    for name, record in first.items():
        assert other[name].value == pytest.approx(record.value, rel=1e-3)
        assert (other[name].note, unlike(record, other[name])) == (record.note, [])


def test_reals_that_the_model_has_no_class_for(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    model = publish(tmp_path / "model", spec=replace(SPEC, classes=("left", "centre")))
    found = run(pictures[0], model, "frechet", extractor=PIXELS)
    assert "all classes are asked for alike" in found.said[0]
    with pytest.raises(UserError, match="needs the reals' classes on both sides, and the samples have no 'right'"):
        run(pictures[0], model, "intra_class_frechet", extractor=PIXELS)


def test_few_samples_of_many_classes_are_not_of_the_first_ones(tmp_path: Path) -> None:
    spec = replace(SPEC, classes=tuple(f"c{index}" for index in range(100)))
    model = open_input("--fake", str(publish(tmp_path, spec=spec)), opening())
    assert isinstance(model, ModelInput)
    few, again, many = (sampled(model, count, 0, 1.0, None).labels for count in (20, 20, 250))
    assert few is not None
    assert many is not None
    assert few.tolist() == again.tolist()  # pyright: ignore[reportOptionalMemberAccess]
    assert len(set(few.tolist())) == 20
    assert max(few) > 50
    assert np.bincount(many).tolist() == [3] * 50 + [2] * 50


@pytest.mark.parametrize(
    "labels",
    [np.array(["a", "b"] * 45), np.arange(90) / 2, np.arange(89), np.zeros((90, 1), dtype=int), np.full(90, -2)],
)
def test_labels_of_a_table_are_indices(labels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=A, labels=labels)
    with pytest.raises(UserError, match=r"a\.npz: labels are .*; the index of each row's class is wanted"):
        run(tmp_path / "a.npz", tmp_path / "a.npz", "frechet")
    np.savez(tmp_path / "b.npz", features=A, labels=np.arange(90.0) % 3)
    assert run(tmp_path / "b.npz", tmp_path / "b.npz", "intra_class_frechet").records[0].note.startswith("mean of 3")
    np.savez(tmp_path / "c.npz", features=A, logits=np.ones((80, 3)))
    with pytest.raises(UserError, match="holds 90 and 80 rows in its tables"):
        run(tmp_path / "c.npz", tmp_path / "c.npz", "frechet")


def test_a_model_s_path_length_needs_no_reals(tmp_path: Path, pictures: tuple[Path, Path]) -> None:
    model = publish(tmp_path / "model")
    keys: dict[str, Any] = {"metrics": [], "strict": True, "path_length": PathLengthSettings(samples=64)}
    (record,) = run(None, model, n=64, extractor=PIXELS, **keys).records
    assert record.name == "path_length_random_projection"
    assert record.value > 0
    with pytest.raises(UserError, match="give --fake a model"):
        run(None, pictures[0], extractor=PIXELS, **keys)


def test_how_many_samples_has_to_be_known(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.zeros(6), sigma=np.eye(6))
    model = publish(tmp_path / "model")
    with pytest.raises(UserError, match="--n: say how many samples"):
        run(tmp_path / "a.npz", model, extractor=PIXELS)
    (record,) = run(tmp_path / "a.npz", model, "frechet", extractor=PIXELS, n=70).records
    assert record.n_fake == 70
    assert "taken on trust" in record.warnings[-1]
    np.savez(tmp_path / "b.npz", mu=np.zeros(6), sigma=np.eye(6), extractor="inception")
    with pytest.raises(UserError, match="of another extractor, inception and not random_projection"):
        run(tmp_path / "b.npz", model, "frechet", extractor=PIXELS, n=70)


def test_bits_do_not_depend_on_torchs_own_threads(pictures: tuple[Path, Path]) -> None:
    before = torch.get_num_threads()
    one = run(*pictures, "frechet", extractor=PIXELS)
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        assert run(*pictures, "frechet", extractor=PIXELS).records == one.records
    finally:
        torch.set_num_threads(before)
