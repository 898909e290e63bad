from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from turns import REAL, SPEC, latents_of, load, play

from pipeline import plugins
from pipeline.errors import SettingsError
from pipeline.networks.architectures.infogan import Recogniser

SMALL: dict[str, Any] = {"latent": 4, "generator_width": 4, "discriminator_width": 4, "dense": 8, "recogniser_width": 6}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_discriminators_player_owns_the_recogniser() -> None:
    discriminator, generator = load("infogan").players()
    assert discriminator.networks == ("discriminator", "recogniser")
    assert (discriminator.optimiser.lr, generator.optimiser.lr) == (2e-4, 1e-3)
    assert sum(latent.shape[0] for latent in load("infogan").latents) == 74


def test_information_is_entropy_less_cross_entropy() -> None:
    family = load("infogan", categorical_weight=2.0, continuous_weight=0.5, **SMALL)
    networks = family.build(SPEC)
    for phase, sign in (("discriminator", -1), ("generator", -1)):
        parts = play(family, networks, phase)
        torch.testing.assert_close(parts["information"], 2 * parts["categorical"] + 0.5 * parts["continuous"])
        torch.testing.assert_close(parts["total"], parts["loss"] + sign * parts["information"])
    latents = latents_of(family)
    fake = networks["generator"](torch.cat([latents[name] for name in ("z", "category", "code")], dim=1))
    _, features = networks["discriminator"](fake)
    logits, means = networks["recogniser"](features)
    parts = play(family, networks, "generator")
    wanted = math.log(10) - F.cross_entropy(logits, latents["category"].argmax(1))
    torch.testing.assert_close(parts["categorical"], wanted)
    gaussian = torch.distributions.Normal(means, 1.0).log_prob(latents["code"])
    torch.testing.assert_close(parts["continuous"], (math.log(2) + gaussian).sum(1).mean())


def test_information_of_a_code_that_is_not_read_is_none() -> None:
    """An even guess among K values: log K − log K."""
    family = load("infogan", **SMALL)
    networks = family.build(SPEC)
    with torch.no_grad():
        networks["recogniser"].output.weight.zero_()  # pyright: ignore
    assert play(family, networks, "generator")["categorical"].item() == pytest.approx(0, abs=1e-5)


def test_both_players_are_moved_by_information_alone() -> None:
    family = load("infogan", **SMALL)
    networks = family.build(SPEC)
    for phase, names in (("discriminator", ("discriminator", "recogniser")), ("generator", ("generator",))):
        information = play(family, networks, phase)["information"]
        for name in names:
            gradients = torch.autograd.grad(
                information, list(networks[name].parameters()), allow_unused=True, retain_graph=True
            )
            assert any(each is not None and each.any() for each in gradients), (phase, name)


def test_the_reference_reads_fourteen_numbers() -> None:
    recogniser = load("infogan").build(SPEC)["recogniser"]
    assert recogniser.output.out_features == 14  # pyright: ignore
    logits, means = recogniser(torch.randn(3, 1024))
    assert (logits.shape, means.shape) == ((3, 10), (3, 2))


def test_means_stand_beside_their_deviations() -> None:
    """Of the numbers behind the categories every second is a mean; the others move nothing."""
    recogniser = Recogniser(3, 4, 2, 3, 0.1).eval()
    with torch.no_grad():
        recogniser.output.weight.zero_()
        recogniser.output.bias.copy_(torch.arange(8.0))
    logits, means = recogniser(torch.randn(1, 3))
    assert (logits.tolist(), means.tolist()) == ([[0, 1]], [[2, 4, 6]])


def test_maps_meet_dense_layers_by_place() -> None:
    networks = load("infogan", **SMALL).build(SPEC)
    assert all(networks[name].stack.plan.places_first for name in ("generator", "discriminator"))  # pyright: ignore


@pytest.mark.parametrize("keys", [{"codes": 0}, {"categories": 0}, {"conditional": True}])
@pytest.mark.parametrize("loss", plugins.names("losses"))
def test_plays_every_loss_with_any_codes(loss: str, keys: dict[str, Any]) -> None:
    family = load("infogan", loss=loss, **SMALL, **keys)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        assert torch.isfinite(play(family, networks, phase)["total"])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"codes": 0, "categories": 0}, "there is nothing to read"),
        ({"categories": 1}, "one value carries no information"),
        ({"penalties": "dragan"}, "batch norm ties the examples together"),
    ],
)
def test_unfit_settings_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load("infogan", **keys)


def test_the_discriminator_sees_unit_range() -> None:
    networks = load("infogan", **SMALL).build(SPEC)
    seen: list[torch.Tensor] = []
    networks["discriminator"].stack.first.register_forward_pre_hook(  # pyright: ignore
        lambda _, given: seen.append(given[0])
    )
    networks["discriminator"](REAL)
    torch.testing.assert_close(seen[0], (REAL + 1) / 2)
