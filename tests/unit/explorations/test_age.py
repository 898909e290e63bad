"""Ageing: rows of a face in every band, identity kept before and after, whose class is found, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.data import packing
from pipeline.data.batches import Reader
from pipeline.data.settings import IngestSettings
from pipeline.errors import UserError
from pipeline.explorations import age
from pipeline.explorations._shared import Findings
from pipeline.sampling.samples import SampleSource
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import ReferenceSettings

SIDE = 16


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Shards and a reference of blotches in three bands."""
    root, draw = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for years in (5, 25, 70):
        (root / "in" / str(years)).mkdir(parents=True)
        for number in range(20):
            blotch = np.kron(draw.integers(0, 256, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
            Image.fromarray(blotch).save(root / "in" / str(years) / f"{number}.png")
    source = {"name": "image_folder", "folder": str(root / "in"), "bands": [0, 19, 60]}
    settings = IngestSettings.model_validate({"source": source, "holdout_fraction": 0.4})
    manifest = packing.ingest(settings, root / "shards")
    shards = root / "shards"
    extractor = ReferenceSettings(extractor={"name": "random_projection"}, threads=1)
    measure(extractor, Reader(shards, "train"), Reader(shards, "holdout"), root / "reference", manifest.sha256)
    return {"shards": str(shards), "reference": str(root / "reference"), "images": str(root / "in" / "5")}


@pytest.fixture(scope="module")
def source(places: dict[str, str]) -> SampleSource:
    spec = Reader(Path(places["shards"]), "train").spec
    family: AnyFamily = plugins.load("families", {"name": "age_cgan", "preset": "smoke", "smallest": 4})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = family.build(spec)
        # Weights as large as trained ones, so that noise is seen.
        for network in networks.values():
            for parameter in network.parameters():
                parameter.data.mul_(4 if parameter.dim() > 1 else 1)
    return SampleSource(family, {name: networks[name].eval() for name in family.averaged}, spec)


def run(source: SampleSource, places: dict[str, str], **keys: Any) -> Findings:
    config = {"name": "age", "limit": 3, "steps": 15, **places, **keys}
    return plugins.load("explorations", config, "explore").run(source)


def test_held_out_examples_are_drawn_in_every_band(source: SampleSource, places: dict[str, str]) -> None:
    found = run(source, places, images=None)
    held = Reader(Path(places["shards"]), "holdout").examples(np.arange(3))
    row, said = found.grids["age"], found.said
    assert said["columns"] == ["picture", "before optimisation", "after optimisation", "0-18", "19-59", "60+"]
    assert row.shape == (3, 6, 3, SIDE, SIDE)
    assert np.array_equal(row[:, 0], held["x"])
    assert [each["label"] for each in said["pictures"]] == [source.spec.classes[label] for label in held["label"]]
    assert said["extractor"]["name"] == "random_projection"
    for number, (each, label) in enumerate(zip(said["pictures"], held["label"], strict=True)):
        assert each["identity_kept_after"] > each["identity_kept_before"]
        assert each["identity_kept_by_class"][each["label"]] == pytest.approx(each["identity_kept_after"])
        assert np.array_equal(row[number, 2], row[number, 3 + label])
        assert "resized_from" not in each
    for when in ("before", "after"):
        mean = np.mean([each[f"identity_kept_{when}"] for each in said["pictures"]])
        assert said[f"identity_kept_{when}"] == pytest.approx(mean)
    assert abs(said["identity_kept_of_others"]) < 1
    assert found.arrays["latents_z"].shape == (3, 8)
    assert np.array_equal(run(source, places, images=None).grids["age"], row), "it repeats"


def test_without_steps_the_code_is_the_encoder_s(source: SampleSource, places: dict[str, str]) -> None:
    found = run(source, places, images=None, steps=0, limit=1)
    (each,) = found.said["pictures"]
    assert each["identity_kept_before"] == each["identity_kept_after"]
    x = Reader(Path(places["shards"]), "holdout").examples(np.arange(1))["x"]
    with torch.no_grad():
        z = source.networks["encoder"](torch.from_numpy(x).float() / 127.5 - 1)
    assert found.arrays["latents_z"] == pytest.approx(z.numpy(), abs=1e-5)
    assert "identity_kept_of_others" not in found.said


def test_pictures_of_a_folder_get_the_band_of_the_nearest_reconstruction(
    source: SampleSource, places: dict[str, str], tmp_path: Path
) -> None:
    Image.fromarray(np.full((40, 30, 3), 200, np.uint8)).save(tmp_path / "a.png")
    found = run(source, {**places, "images": str(tmp_path)}, steps=0)
    (each,) = found.said["pictures"]
    assert each["picture"] == "a.png"
    assert each["resized_from"] == "40×30"
    kept = each["identity_kept_by_class"]
    assert each["label"] == max(kept, key=kept.__getitem__)
    asked = run(source, {**places, "images": str(tmp_path)}, steps=0, label=["60+"])
    assert asked.said["pictures"][0]["label"] == "60+"


def test_cosine_by_hand() -> None:
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [1.0, 0.0]])
    assert age.cosine(a, b) == pytest.approx([0.96, 0.0])
    assert age.others(np.eye(3)) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"reference": "nowhere"}, "there is no reference at nowhere"),
        ({"images": None, "shards": "nowhere"}, "there are none at nowhere"),
        ({"images": "nowhere"}, "there is no picture"),
        ({"label": ["0-18", "60+"]}, "2 classes for 3 pictures"),
        ({"label": ["61+"]}, "label"),
    ],
)
def test_what_is_not_there_is_told(
    source: SampleSource, places: dict[str, str], keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        run(source, {**places, **keys})


def test_designs_without_an_encoder_or_classes_are_refused(source: SampleSource, places: dict[str, str]) -> None:
    for name, keys, says in (("dcgan", {}, "no encoder"), ("age_cgan", {"conditional": False}, "without classes")):
        family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke", **keys})
        other = SampleSource(family, family.build(source.spec), source.spec)
        with pytest.raises(UserError, match=says):
            run(other, places)
