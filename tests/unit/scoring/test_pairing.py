"""Samples beside their truths: which, of what size, and nothing where no truth is known."""

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
from pipeline.data.settings import IngestSettings
from pipeline.sampling.samples import SampleSource, quantise
from pipeline.scoring.extract import ShardExamples, inputs_of
from pipeline.scoring.pairing import cycles_of, pairs_of, reconstructions_of
from pipeline.types import Array

HELD_OUT = 70


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, source = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for side in ("a", "b"):
        (root / side).mkdir()
        for number in range(HELD_OUT):
            Image.fromarray(source.integers(0, 256, (8, 16, 3), np.uint8)).save(root / side / f"{number:02d}.png")
    return root


def opened(pictures: Path, folder: Path, name: str, keys: dict[str, Any], **ingest: Any) -> SampleSource:
    settings = IngestSettings.model_validate({"holdout_fraction": 0.5, **ingest})
    packing.ingest(settings, folder)
    spec = packing.Manifest.load(folder).spec
    family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke", **keys})
    torch.manual_seed(0)
    networks = {each: network.eval() for each, network in family.build(spec).items() if each in family.averaged}
    return SampleSource(family, networks, spec, inputs=inputs_of(family, folder))


def test_each_sample_has_its_own_truth_and_the_enlarged_input(pictures: Path, tmp_path: Path) -> None:
    source = opened(
        pictures, tmp_path / "shards", "srgan", {}, source={"name": "image_folder", "folder": str(pictures)},
        derive={"low": {"name": "downscale", "factor": 4}},
    )  # fmt: skip
    pairs = pairs_of(source, seed=1)
    assert pairs is not None
    assert pairs.count == HELD_OUT
    assert pairs.baseline.startswith("the input low, enlarged")
    blocks = list(pairs.blocks(HELD_OUT))
    made, truth, given = (
        np.concatenate([getattr(each, name) for each in blocks]) for name in ("made", "truth", "given")
    )
    assert np.array_equal(made, source.sample(HELD_OUT, seed=1))
    assert truth.shape == given.shape == (HELD_OUT, 3, 8, 16)
    assert source.inputs is not None
    assert np.array_equal(low_of(truth[66]).transpose(2, 0, 1), source.inputs(np.array([66]))["low"][0])
    assert np.array_equal(
        given[66].transpose(1, 2, 0), np.asarray(Image.fromarray(low_of(truth[66])).resize((16, 8), 3))
    )
    assert [len(each.made) for each in pairs.blocks(3)] == [3]


def low_of(truth: Array) -> Array:
    return np.asarray(Image.fromarray(truth.transpose(1, 2, 0)).resize((4, 2), Image.Resampling.BICUBIC))


def test_an_input_of_the_same_size_stands_as_it_is(pictures: Path, tmp_path: Path) -> None:
    source = opened(
        pictures, tmp_path / "shards", "pix2pix", {}, source={"name": "image_folder", "folder": str(pictures)},
        derive={"pair": {"name": "grey"}},
    )  # fmt: skip
    pairs = pairs_of(source, seed=1)
    assert pairs is not None
    (block,) = pairs.blocks(2)
    assert pairs.baseline == "the input pair"
    assert block.given is not None
    expected = np.asarray(Image.fromarray(block.truth[1].transpose(1, 2, 0)).convert("L"))
    assert np.array_equal(block.given[1, 0], expected)


def test_domains_without_pairs_have_no_truth(pictures: Path, tmp_path: Path) -> None:
    source = opened(
        pictures, tmp_path / "shards", "cyclegan", {},
        source={"name": "two_folders", "folder": str(pictures), "input": "a", "target": "b"},
    )  # fmt: skip
    assert pairs_of(source, seed=1) is None
    source.inputs = None
    assert pairs_of(source, seed=1) is None


def test_a_design_with_an_encoder_makes_held_out_examples_again(pictures: Path, tmp_path: Path) -> None:
    source = opened(
        pictures, tmp_path / "shards", "age_cgan", {"smallest": 2},
        source={"name": "image_folder", "folder": str(pictures)},
    )  # fmt: skip
    held = ShardExamples(tmp_path / "shards", "holdout")
    pairs = reconstructions_of(source, held)
    assert pairs is not None
    assert (pairs.count, pairs.reconstructed) == (HELD_OUT, True)
    blocks = list(pairs.blocks(HELD_OUT))
    whole = held.examples(np.arange(HELD_OUT))
    assert np.array_equal(np.concatenate([each.truth for each in blocks]), whole["x"])
    x = torch.from_numpy(whole["x"][65:66]).float() / 127.5 - 1
    with torch.no_grad():
        z = source.networks["encoder"](x)
        made = source.networks["generator"](z, torch.from_numpy(whole["label"][65:66]))
    expected = made.add(1).mul(127.5).round().clamp(0, 255)
    assert np.abs(np.concatenate([each.made for each in blocks])[65] - expected[0].numpy()).max() <= 1
    (few,) = pairs.blocks(3)
    assert np.array_equal(few.made, blocks[0].made[:3])
    assert reconstructions_of(source, None) is None
    dcgan = opened(
        pictures, tmp_path / "other", "dcgan", {}, source={"name": "image_folder", "folder": str(pictures)}
    )  # fmt: skip
    assert reconstructions_of(dcgan, held) is None


@pytest.mark.parametrize("name", ["cyclegan", "discogan"])
def test_both_directions_bring_back_what_the_networks_make_of_it(pictures: Path, tmp_path: Path, name: str) -> None:
    source = opened(
        pictures, tmp_path / "shards", name, {}, resolution=16,
        source={"name": "two_folders", "folder": str(pictures), "input": "a", "target": "b"},
    )  # fmt: skip
    cycles = cycles_of(source, seed=1)
    assert cycles is not None
    assert {domain: pairs.count for domain, pairs in cycles.items()} == {"unpaired": 35, "x": 35}
    (block,) = cycles["x"].blocks(3)
    assert block.made.shape == (3, 3, 16, 16)
    back: Any = source.family.procedures()["back"]
    x = source.spec.x.tensor(block.truth)
    condition: Any = {"unpaired": back(source.networks, x)}
    again = source.family.sample(source.networks, {}, condition)
    assert np.abs(quantise(again).numpy().astype(int) - block.made).max() <= 1
    (other,) = cycles["unpaired"].blocks(2)
    assert source.inputs is not None
    assert np.array_equal(other.truth, source.inputs(np.arange(2))["unpaired"])


def test_one_direction_alone_brings_nothing_back(pictures: Path, tmp_path: Path) -> None:
    source = opened(
        pictures, tmp_path / "shards", "cut", {}, resolution=16,
        source={"name": "two_folders", "folder": str(pictures), "input": "a", "target": "b"},
    )  # fmt: skip
    assert cycles_of(source, seed=1) is None
