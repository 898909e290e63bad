from __future__ import annotations

from typing import Any

import pytest
import torch
from turns import REAL, SPEC, load, phase_of, play

from pipeline import plugins
from pipeline.contract import State
from pipeline.errors import SettingsError

SMALL: dict[str, Any] = {"generator_width": 4, "discriminator_width": 4, "latent": 8}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_critic_is_eager_at_first_and_every_500th_step() -> None:
    repeats = phase_of(load("wgan"), "discriminator").repeats
    assert callable(repeats)
    turns = {step: repeats(State(seed=0, step=step)) for step in (0, 24, 25, 499, 500, 501, 1000)}
    assert turns == {0: 100, 24: 100, 25: 5, 499: 5, 500: 100, 501: 5, 1000: 100}
    never = phase_of(load("wgan", eager_first=0, eager_every=None), "discriminator").repeats
    assert callable(never)
    assert never(State(seed=0)) == 5


@pytest.mark.parametrize("architecture", ["strided", "perceptron"])
def test_clipping_reaches_every_number_before_a_turn(architecture: str) -> None:
    critic = load("wgan", architecture=architecture, clip=0.02, **SMALL).build(SPEC)["discriminator"]
    assert max(p.abs().max().item() for p in critic.parameters()) > 0.02
    critic.advance()  # pyright: ignore[reportCallIssue]
    assert max(p.abs().max().item() for p in critic.parameters()) == pytest.approx(0.02)


def test_without_clip_nothing_moves() -> None:
    critic = load("wgan", clip=None, penalties="r1", **SMALL).build(SPEC)["discriminator"]
    before = [parameter.clone() for parameter in critic.parameters()]
    critic.advance()  # pyright: ignore[reportCallIssue]
    assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))


def test_losses_are_means_of_scores() -> None:
    family = load("wgan", **SMALL)
    networks = family.build(SPEC)
    parts = play(family, networks, "discriminator")
    torch.testing.assert_close(parts["total"], parts["fake"] - parts["real"])
    parts = play(family, networks, "generator")
    torch.testing.assert_close(parts["total"], -parts["fake"])


def test_optimiser_is_rmsprop_without_momentum() -> None:
    for player in load("wgan").players():
        assert (player.optimiser.name, player.optimiser.lr, player.optimiser.momentum) == ("rmsprop", 5e-5, 0)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"penalties": "r1"}, "clip: the critic is bounded twice; set it to null"),
        ({"penalties": "gradient_penalty", "clip": None}, "batch norm ties the examples together"),
        ({"clip": 0}, "clip"),
    ],
)
def test_unfit_combinations_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load("wgan", **keys)


@pytest.mark.parametrize("loss", plugins.names("losses"))
def test_plays_every_loss(loss: str) -> None:
    family = load("wgan", loss=loss, architecture="perceptron", conditional=True, **SMALL)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        assert torch.isfinite(play(family, networks, phase)["total"])


def test_the_perceptron_is_cut_to_the_range_when_it_samples_only() -> None:
    family = load("wgan", architecture="perceptron", **SMALL)
    networks = family.build(SPEC)
    with torch.no_grad():
        networks["generator"].stack.output.bias.fill_(3.0)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue, reportOptionalMemberAccess]
    z = torch.zeros(2, 8)
    assert networks["generator"](z).max() > 1
    assert family.sample(networks, {"z": z}, {}).max() == 1
    assert networks["discriminator"](REAL).shape == (6,)
