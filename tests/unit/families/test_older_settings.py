"""Models of the time when a design had one penalty and names of its own for its keys open as they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import plugins
from pipeline.contract import AnyFamily, Ramp
from pipeline.errors import SettingsError, UserError
from pipeline.formats.model import ModelCard, load_card, save_model
from pipeline.sampling.samples import open_model
from pipeline.storage.files import read_json, write_json
from pipeline.types import DataSpec

STORED: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("configs_of_one_penalty.json").read_text(encoding="utf-8")
)
"""Family → its preset `smoke`, as a card held it."""


def config_of(name: str, stored: dict[str, Any]) -> dict[str, Any]:
    """The settings of the family that a card of such settings gives, as plain values."""
    modern = plugins.module("families", name).Config.modern(stored)
    return plain(name, **modern)


def plain(name: str, **keys: Any) -> dict[str, Any]:
    """Settings as plain values, the `every` of each penalty written out."""
    config = plugins.configure("families", {"name": name, **keys})
    usual = getattr(config, "usual_every", 1)
    found = config.model_dump(mode="json")
    return {**found, "penalties": [{"every": usual, **penalty} for penalty in found["penalties"]]}


@pytest.mark.parametrize("name", sorted(STORED))
def test_stored_settings_are_those_of_the_preset(name: str) -> None:
    now = plain(name, preset="smoke")
    assert config_of(name, STORED[name]) == now
    assert config_of(name, now) == now, "today's are left as they are"


@pytest.mark.parametrize("name", ["dcgan", "wgan"])
def test_a_stored_model_opens_and_samples(name: str, tmp_path: Path) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke"})
    spec = DataSpec("image", (1, 16, 16), ("a", "b", "c"))
    networks = {key: network.state_dict() for key, network in family.build(spec).items() if key in family.averaged}
    card = ModelCard(name, {}, spec, (), 64, 4, 0, True, {}, {})
    save_model(tmp_path, card, networks)
    about = read_json(tmp_path / "model.json", "a test")
    write_json(tmp_path / "model.json", {**about, "config": STORED[name]})
    source, opened = open_model(tmp_path)
    assert source.family.config == family.config
    assert opened.config == load_card(tmp_path).config
    assert "penalty" not in opened.config
    assert np.isfinite(source.chunk(seed=0, index=0).numpy()).all()


@pytest.mark.parametrize(
    ("name", "old", "now"),
    [
        ("dcgan", {"penalty": None, "penalty_every": 4}, {"penalties": []}),
        ("dcgan", {"penalty": {"name": "r1"}, "penalty_every": 1}, {"penalties": [{"name": "r1", "every": 1}]}),
        ("stylegan2", {"penalty": {"name": "r2"}, "penalty_every": 8}, {"penalties": [{"name": "r2", "every": 8}]}),
        ("wgan_gp", {"penalty": {"name": "dragan"}, "n_critic": 3}, {"discriminator_steps": 3}),
        ("r3gan", {"gamma": 2.0}, {"penalties": [{"name": name, "gamma": 2.0, "every": 1} for name in ("r1", "r2")]}),
    ],
)
def test_one_penalty_becomes_a_list(name: str, old: dict[str, Any], now: dict[str, Any]) -> None:
    found = config_of(name, old)
    assert {key: found[key] for key in now} == now


def test_a_damaged_card_s_penalty_is_refused() -> None:
    with pytest.raises(SettingsError, match="penalties"):
        config_of("dcgan", {"penalty": 3, "penalty_every": "x"})


@pytest.mark.parametrize(
    ("name", "key", "now"),
    [
        ("wgan", "critic_steps", "discriminator_steps"),
        ("wgan_gp", "n_critic", "discriminator_steps"),
        ("wavegan", "critic", "discriminator"),
        ("dcgan", "penalty", "penalties"),
        ("stylegan2", "penalty_every", "penalties.NAME.every"),
        ("r3gan", "gamma", "penalties.r1.gamma and penalties.r2.gamma"),
        ("cyclegan", "discriminators", "discriminator"),
    ],
)
def test_an_older_key_is_refused_with_today_s(name: str, key: str, now: str) -> None:
    with pytest.raises(SettingsError) as raised:
        plugins.load("families", {"name": name, key: {}}, f"families.{name}")
    assert raised.value.problems == (f"families.{name}.{key}: is called {now} now",)


@pytest.mark.parametrize(("name", "key"), [("sngan", "order"), ("biggan", "order")])
def test_a_key_that_is_gone_is_refused_from_people_and_dropped_from_cards(name: str, key: str) -> None:
    assert key not in config_of(name, {key: "studio", "latent": 48})
    with pytest.raises(SettingsError) as raised:
        plugins.load("families", {"name": name, key: "studio"}, f"families.{name}")
    (problem,) = raised.value.problems
    assert problem.startswith(f"families.{name}.{key}: is no setting any more; ")


def test_fused_batch_norm_of_a_card_is_batch_norm_and_of_people_unknown() -> None:
    assert config_of("wgan_gp", {"generator_norm": "fused"})["generator_norm"] == "batch"
    assert config_of("wgan_gp", {"generator_norm": "none"})["generator_norm"] == "none"
    with pytest.raises(SettingsError, match="generator_norm"):
        plugins.load("families", {"name": "wgan_gp", "generator_norm": "fused"})


WIDTHS: dict[str, Any] = {"generator_widths": [8, 6], "discriminator_widths": [4, 4], "latent": 5, "conditional": False}


def old_residual(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A residual generator's weights as they were stored when its parts had names of their own."""
    names = {"stack.linear.": "stack.first.", "stack.layers.": "stack.blocks."}
    found: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        for now, before in names.items():
            key = key.replace(now, before)
        found[key] = value
    return found


def with_idle(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with the two idle parameters that each of its batch norms had."""
    found = dict(state)
    for key, value in state.items():
        norm, _, part = key.rpartition(".")
        if part == "running_mean" and "unit_norm" not in norm:
            found |= {f"{norm}.moving_mean": torch.zeros_like(value), f"{norm}.moving_variance": torch.ones_like(value)}
    return found


@pytest.mark.parametrize(
    ("name", "keys", "older"),
    [
        ("wgan_gp", {**WIDTHS, "architecture": "residual"}, lambda state: with_idle(old_residual(state))),
        ("wgan_gp", {**WIDTHS, "architecture": "strided"}, with_idle),
        ("sngan", {**WIDTHS, "order": "studio"}, dict),
        ("biggan", {"preset": "smoke", "order": "biggan"}, dict),
    ],
)
def test_weights_by_older_names_open_and_give_the_same_samples(
    name: str, keys: dict[str, Any], older: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, **{k: v for k, v in keys.items() if k != "order"}})
    spec = DataSpec("image", (1, 16, 16), ("a", "b", "c"))
    torch.manual_seed(3)
    network = family.build(spec)["generator"]
    card = ModelCard(name, {}, spec, (), 64, 4, 0, True, {}, {})
    config = family.config.model_dump(mode="json")
    before = {**config, "generator_norm": "fused"} if name == "wgan_gp" else {**config, "order": keys.get("order")}
    for folder, state, stored in (("now", network.state_dict(), config), ("then", older(network.state_dict()), before)):
        save_model(tmp_path / folder, card, {"generator": state})
        about = read_json(tmp_path / folder / "model.json", "a test")
        write_json(tmp_path / folder / "model.json", {**about, "config": stored})
    now, then = (open_model(tmp_path / folder)[0].chunk(seed=0, index=0) for folder in ("now", "then"))
    assert torch.equal(now, then)
    assert older(network.state_dict()).keys() != network.state_dict().keys() or older is dict


def test_weights_that_fit_neither_name_are_refused(tmp_path: Path) -> None:
    family: AnyFamily = plugins.load("families", {"name": "wgan_gp", **WIDTHS})
    spec = DataSpec("image", (1, 16, 16))
    state = {f"strange.{key}": value for key, value in family.build(spec)["generator"].state_dict().items()}
    card = ModelCard("wgan_gp", family.config.model_dump(mode="json"), spec, (), 64, 4, 0, True, {}, {})
    save_model(tmp_path, card, {"generator": state})
    with pytest.raises(UserError, match="does not fit"):
        open_model(tmp_path)


def test_weights_of_penalties_follow_the_clock() -> None:
    ramp = Ramp(start=2.0, end=1.0, examples=100)
    r1 = plugins.load("penalties", {"name": "r1", "gamma": ramp})
    x, generator = torch.randn(4, 3), torch.Generator()
    early, late = (r1(lambda x: x.square().sum(1), x, x, generator, seen).item() for seen in (0, 100))
    assert early == pytest.approx(2 * late)
