from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from turns import SPEC, latents_of, load, play

from pipeline import plugins
from pipeline.errors import SettingsError
from pipeline.types import DataSpec

SMALL: dict[str, Any] = {"preset": "smoke", "width": 4, "latent": 6, "shared_embedding": 3}
DEEP: dict[str, Any] = {"depth": 2, "discriminator_multiples": [1, 2, 2], "generator_multiples": [2, 2, 1]}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_discriminator_moves_first_on_its_own_rate() -> None:
    family = load("biggan")
    assert [phase.player for phase in family.phases()] == ["discriminator", "generator"]
    discriminator, generator = family.players()
    assert (generator.optimiser.lr, discriminator.optimiser.lr) == (1e-4, 4e-4)
    assert (generator.optimiser.beta1, generator.optimiser.beta2, generator.optimiser.eps) == (0, 0.999, 1e-6)
    assert load("biggan", preset="cifar10").phases()[0].repeats == 4


def test_starts_orthogonal() -> None:
    networks = load("biggan", **SMALL).build(SPEC)
    for network in networks.values():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                weight = module.weight.detach().flatten(1)
                short = weight if weight.shape[0] <= weight.shape[1] else weight.T
                torch.testing.assert_close(short @ short.T, torch.eye(len(short)), atol=1e-5, rtol=0)


def test_truncation_is_a_conditioned_normal_and_one_means_none() -> None:
    family = load("biggan", **SMALL)
    networks = family.build(SPEC)
    seen: list[torch.Tensor] = []
    networks["generator"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    z = latents_of(family)["z"] * 3
    label = {"label": torch.zeros(6, dtype=torch.long)}
    for truncation in (1.0, 0.5, 0.0):
        family.sample(networks, {"z": z}, label, truncation)  # pyright: ignore[reportArgumentType]
    assert torch.equal(seen[0], z)
    assert 0.5 < seen[1].abs().max() <= 1.0
    assert not seen[2].any()


def test_float_labels_mix_classes() -> None:
    family = load("biggan", **SMALL)
    generator = family.build(SPEC)["generator"].eval()
    z = latents_of(family)["z"]
    sharp = torch.nn.functional.one_hot(torch.arange(6) % 3, 3).float()
    torch.testing.assert_close(generator(z, sharp), generator(z, torch.arange(6) % 3))
    assert not torch.equal(generator(z, sharp.roll(1, 0) / 2 + sharp / 2), generator(z, sharp))


def test_orthogonal_regularisation_adds_the_references_gradient() -> None:
    """Its gradient is β·2(WWᵀ ⊙ (1 − I))W on every weight but the shared table."""
    beta = 0.1
    with_it, without = (load("biggan", generator_orthogonal=value, **SMALL) for value in (beta, 0.0))
    networks = with_it.build(SPEC)
    with torch.no_grad():
        for parameter in networks["generator"].parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    named = dict(networks["generator"].named_parameters())
    gradients = [
        torch.autograd.grad(play(family, networks, "generator")["total"], list(named.values()))
        for family in (with_it, without)
    ]
    for name, plus, plain in zip(named, *gradients, strict=True):
        weight = named[name].detach()
        wanted = torch.zeros_like(weight)
        if weight.dim() > 1 and not name.startswith("shared"):
            flat = weight.flatten(1)
            gram = flat @ flat.T
            wanted = (beta * 2 * (gram - gram.diagonal().diag()) @ flat).view_as(weight)
        torch.testing.assert_close(plus - plain, wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("loss", plugins.names("losses"))
@pytest.mark.parametrize("keys", [{}, DEEP], ids=["plain", "deep"])
def test_plays_every_loss(loss: str, keys: dict[str, Any]) -> None:
    family = load("biggan", **{**SMALL, **keys}, loss=loss)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        assert torch.isfinite(play(family, networks, phase)["total"])


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("keys", [{"hierarchical": False, "shared_embedding": 0}, {"hierarchical": False}, DEEP])
def test_every_way_in_for_noise_and_labels_builds(keys: dict[str, Any], conditional: bool) -> None:
    family = load("biggan", **{**SMALL, **keys}, conditional=conditional)
    networks = family.build(SPEC)
    label: Any = {"label": torch.tensor([0, 1, 2, 0, 1, 2])} if conditional else {}
    assert family.sample(networks, latents_of(family), label).shape == (6, 1, 16, 16)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"latent": 100}, "latent: 100 does not divide into 6 chunks"),
        ({"shared_embedding": 0}, "hierarchical: noise joins a shared code"),
        ({"halvings": 7}, "halvings: 7 is not allowed; D has 6 blocks"),
        ({"depth": 2, "discriminator_attention": [6]}, "discriminator_attention: 6 is not allowed; there are 5 blocks"),
        ({"depth": 2, "discriminator_multiples": [2, 1], "halvings": 1}, "never drop them"),
        ({"depth": 2, "generator_multiples": [1, 2], "generator_attention": []}, "never add them"),
    ],
)
def test_unfit_settings_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load("biggan", **keys)


def test_any_rectangle_of_the_right_multiples() -> None:
    family = load("biggan", **SMALL)
    networks = family.build(DataSpec("image", (3, 12, 20), ("a", "b")))
    z = torch.randn(2, 6)
    x = family.sample(networks, {"z": z}, {"label": torch.zeros(2, dtype=torch.long)})
    assert x.shape == (2, 3, 12, 20)
