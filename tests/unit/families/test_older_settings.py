"""Models of the time when a design had one penalty and names of its own for its keys open as they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import plugins
from pipeline.contract import AnyFamily, Ramp
from pipeline.errors import SettingsError
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


def test_weights_of_penalties_follow_the_clock() -> None:
    ramp = Ramp(start=2.0, end=1.0, examples=100)
    r1 = plugins.load("penalties", {"name": "r1", "gamma": ramp})
    x, generator = torch.randn(4, 3), torch.Generator()
    early, late = (r1(lambda x: x.square().sum(1), x, x, generator, seen).item() for seen in (0, 100))
    assert early == pytest.approx(2 * late)
