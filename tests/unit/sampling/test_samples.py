from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_toys import SPEC, Toy, toy_networks
from safetensors.torch import load_file

from pipeline import plugins
from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.model import ModelCard, load_card, save_model
from pipeline.sampling.samples import CHUNK, SampleSource, evaluating, open_model, pixels, quantise
from pipeline.threads import fixed_threads
from pipeline.types import DataSpec

FAMILY = Toy()
SOURCE = SampleSource(FAMILY, toy_networks(FAMILY), SPEC)
WHOLE = SOURCE.sample(200, seed=5)


@given(st.integers(0, 199), st.integers(0, 200))
@settings(deadline=None, max_examples=30)
def test_a_sample_is_the_same_bytes_however_it_is_asked_for(start: int, n: int) -> None:
    n = min(n, 200 - start)
    assert np.array_equal(SOURCE.sample(n, seed=5, start=start), WHOLE[start : start + n])


def test_another_sample_s_label_changes_nothing_its_own_does() -> None:
    labels = SOURCE.default_labels(70)
    labels[3] = 1 - labels[3]
    found = SOURCE.sample(70, labels, seed=5)
    same = (found == WHOLE[:70]).all(axis=(1, 2, 3))
    assert np.flatnonzero(~same).tolist() == [3]


def test_default_labels_are_balanced() -> None:
    assert SOURCE.default_labels(5, start=3).tolist() == [1, 0, 1, 0, 1]
    assert SampleSource(Toy(False), toy_networks(FAMILY), SPEC).default_labels(3).tolist() == [0, 0, 0]


def test_seed_and_truncation_count() -> None:
    assert not np.array_equal(SOURCE.sample(4, seed=6), WHOLE[:4])
    plain = SOURCE.sample(64, seed=5, truncation=1e-9)
    assert (plain[0::2] == plain[0]).all()
    assert (plain[1::2] == plain[1]).all()


def test_networks_keep_their_mode_and_torch_its_threads_and_stream() -> None:
    networks = toy_networks(FAMILY)
    networks["generator"].train()
    before, state = torch.get_num_threads(), torch.get_rng_state()
    running = networks["generator"][1].running_mean.clone()
    SampleSource(FAMILY, networks, SPEC, threads=2).sample(3)
    assert networks["generator"].training
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(networks["generator"][1].running_mean, running)


def test_modes_and_threads_come_back_after_a_fault() -> None:
    networks = toy_networks(FAMILY)
    networks["generator"][1].eval()
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="midway"), fixed_threads(before + 1), evaluating(networks):
        raise RuntimeError("midway")
    modes = [module.training for module in networks["generator"].modules()]
    assert modes == [True, True, False, True]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("n", "labels", "message"),
    [
        (3, [0, 1], "3 samples need 3 labels, and here are 2"),
        (2, [0, 2], "labels must be indices 0 … 1, and here are 0 … 2"),
        (2, [-1, 0], "labels must be indices 0 … 1, and here are -1 … 0"),
        (-1, None, "neither may be negative"),
    ],
)
def test_wrong_requests_are_refused(n: int, labels: list[int] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SOURCE.sample(n, None if labels is None else np.array(labels))


def test_labels_for_an_unconditional_model_are_refused() -> None:
    with pytest.raises(UserError, match="but this measured_toys model has no classes"):
        SampleSource(Toy(False), toy_networks(FAMILY), SPEC).sample(1, np.array([0]))


def test_none_asked_none_given() -> None:
    assert SOURCE.sample(0).shape == (0, 1, 8, 8)


def test_pixels_are_rounded_and_cut() -> None:
    x = torch.tensor([-2.0, -1.0, -0.9999, 0.0, 1.0, 3.0])
    assert quantise(x).tolist() == [0, 0, 0, 128, 255, 255]
    every = torch.arange(256).to(torch.uint8)
    assert torch.equal(quantise(every.float() / 127.5 - 1), every)
    with pytest.raises(UserError, match="non-finite samples"):
        pixels(torch.tensor([float("nan")]))


def test_a_grid_has_a_column_for_each_class() -> None:
    grid = SOURCE.grid(seed=5, rows=3)
    assert grid.shape == (3, 2, 1, 8, 8)
    assert np.array_equal(grid.reshape(-1, 1, 8, 8), WHOLE[:6])


def published(folder: Path) -> SampleSource:
    family = plugins.load("families", {"name": "gan", "conditional": True})
    spec = DataSpec("image", (1, 8, 8), ("a", "b", "c"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        networks = family.build(spec)
    card = ModelCard("gan", family.config.model_dump(mode="json"), spec, (), 0, 0, 0, True, {}, {})
    save_model(folder, card, {"generator": networks["generator"].state_dict()})
    return SampleSource(family, networks, spec)


def test_a_published_model_draws_what_it_drew(tmp_path: Path) -> None:
    trained = published(tmp_path)
    state = torch.get_rng_state()
    source, card = open_model(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert card.family == "gan"
    assert source.conditional
    assert np.array_equal(source.sample(70, seed=2), trained.sample(70, seed=2))


def test_a_changed_weight_file_is_noticed(tmp_path: Path) -> None:
    published(tmp_path)
    path = tmp_path / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BrokenArtefact, match="sha256"):
        open_model(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    published(tmp_path)
    path = tmp_path / "model.json"
    path.write_text(path.read_text().replace('"c"', '"c", "d"'))
    with pytest.raises(UserError, match="network 'generator' does not fit the family 'gan'"):
        open_model(tmp_path)


def test_a_file_that_lacks_weights_is_refused_before_networks_are_built(tmp_path: Path) -> None:
    published(tmp_path)
    held = load_file(tmp_path / "generator.safetensors")
    card = load_card(tmp_path)
    lost = sorted(held)[0]
    save_model(tmp_path, card, {"generator": {name: value for name, value in held.items() if name != lost}})
    with pytest.raises(UserError, match=f"lacks {lost}"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("stylegan2", {"mapping_layers": 10**7}),
        ("stylegan", {"mapping_layers": 10**7}),
        ("biggan", {"depth": 10**7}),
        ("r3gan", {"blocks": (10**7,) * 4}),
        ("gan", {"generator_widths": (1,) * 100_000}),
        ("gan", {"latent": 10**18}),
        ("gan", {"latent": 10**30}),
    ],
)
def test_a_card_of_networks_that_none_can_have_is_refused_at_once(
    tmp_path: Path, family: str, config: dict[str, Any]
) -> None:
    classes = ("a", "b") if family == "biggan" else ()
    spec = DataSpec("image", (3, 32, 32), classes)
    card = ModelCard(family, config, spec, (), 0, 0, 0, True, {}, {})
    save_model(tmp_path, card, {"generator": {"x": torch.zeros(1)}})
    began = time.process_time()
    with pytest.raises(UserError, match="ask for networks"):
        open_model(tmp_path)
    assert time.process_time() - began < 10


def test_importing_it_brings_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys, pipeline.sampling.samples; "
        "print([m for m in ('sklearn', 'scipy', 'matplotlib', 'ray', 'mlflow', 'PIL', 'jinja2') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_chunks_are_what_the_noise_is_keyed_by() -> None:
    assert CHUNK == 64
    assert not torch.equal(SOURCE.latents(0, 0)["z"], SOURCE.latents(0, 1)["z"])
