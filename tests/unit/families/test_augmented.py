"""WGAN, conditional GAN and InfoGAN with an augmentation: all that D sees passes it, and ADA's p moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from turns import REAL, SPEC, load, make_turn, phase_of, play

from pipeline import plugins
from pipeline.contract import AnyFamily, Networks, State
from pipeline.errors import SettingsError

SMALL: dict[str, dict[str, Any]] = {
    "cgan": {"preset": "smoke", "latent": 8, "generator_width": 4, "discriminator_width": 4, "dense": 8},
    "infogan": {"latent": 4, "generator_width": 4, "discriminator_width": 4, "dense": 8, "recogniser_width": 6},
    "wgan": {"latent": 8, "generator_width": 4, "discriminator_width": 4},
}
PENALISED: dict[str, dict[str, Any]] = {"wgan": {"clip": None}}
NAMES = sorted(SMALL)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(name: str, **keys: Any) -> AnyFamily:
    return load(name, **SMALL[name], **keys)


def seen_by(networks: Networks) -> list[Tensor]:
    found: list[Tensor] = []
    networks["discriminator"].register_forward_pre_hook(lambda _, given: found.append(given[0].detach()))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_the_critic_sees_is_augmented_by_counters(name: str) -> None:
    family = small(name, augment="diff_augment")
    networks = family.build(SPEC)
    seen = seen_by(networks)
    for moment in (0, 0, 64):
        play(family, networks, "discriminator", examples_seen=moment)
    reals = seen[::2]
    assert not torch.equal(reals[0], REAL)
    assert torch.equal(reals[0], reals[1])
    assert not torch.equal(reals[0], reals[2])


@pytest.mark.parametrize("name", NAMES)
def test_reals_fakes_penalty_and_the_generator_s_turn_all_pass_it(name: str) -> None:
    """Cutout blackens a square of each image that D is shown, and without one nothing is black."""
    keys: dict[str, Any] = {"penalties": "r1", "loss": "relativistic", **PENALISED.get(name, {})}
    for augment, black in ((None, False), ({"name": "diff_augment", "policy": ["cutout"]}, True)):
        family = small(name, augment=augment, **keys)
        networks = family.build(SPEC)
        seen = seen_by(networks)
        for phase, looks in (("discriminator", 3), ("generator", 2)):
            seen.clear()
            play(family, networks, phase)
            assert len(seen) == looks
            assert all(bool((x == 0).flatten(1).any(dim=1).all()) is black for x in seen), phase


@pytest.mark.parametrize("name", NAMES)
def test_ada_watches_the_sign_and_moves_its_probability(name: str) -> None:
    family = small(name, loss="hinge", augment={"name": "ada", "interval": 1})
    networks = family.build(SPEC)
    turn = make_turn(family, networks, "discriminator", examples_seen=500)
    turn.state.tensors.update(family.state(SPEC))
    parts = phase_of(family, "discriminator").objective(turn)
    assert -1 <= parts["sign"].item() <= 1
    assert parts["augment_p"].item() == 0
    family.after_step(networks, turn.state, {"discriminator/sign": 1.0})
    assert turn.state.tensors["augment_p"].item() == pytest.approx(500 / 500_000)


@pytest.mark.parametrize("name", NAMES)
def test_without_one_there_is_no_state_and_no_sign(name: str) -> None:
    family = small(name)
    networks = family.build(SPEC)
    assert family.state(SPEC) == {}
    family.after_step(networks, State(seed=0), {})
    assert "sign" not in play(family, networks, "discriminator")


@pytest.mark.parametrize("choice", plugins.names("augmentation"))
@pytest.mark.parametrize("name", NAMES)
def test_any_augmentation_plays(name: str, choice: str) -> None:
    augment = {"name": choice, **({"p": 0.5} if choice == "ada" else {})}
    family = small(name, augment=augment)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        total = play(family, networks, phase)["total"]
        owned = list(networks[phase].parameters())
        assert any(bool(each.any()) for each in torch.autograd.grad(total, owned)), phase


def test_ada_is_refused_where_signs_say_nothing() -> None:
    with pytest.raises(SettingsError, match="watches the sign"):
        small("wgan", augment="ada")
    assert small("wgan", augment={"name": "ada", "p": 0.3}).state(SPEC) == {}
    for name in ("cgan", "infogan"):
        with pytest.raises(SettingsError, match="watches the sign"):
            small(name, augment="ada", loss="least_squares")
