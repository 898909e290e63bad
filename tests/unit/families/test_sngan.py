from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from turns import LABEL, REAL, SPEC, latents_of, load, make_turn, phase_of, play

from pipeline import plugins
from pipeline.contract import Ramp
from pipeline.errors import SettingsError
from pipeline.families._spectral import even_labels
from pipeline.networks.layers.spectral_norm import Spectral, spectral_layers
from pipeline.types import DataSpec

SMALL: dict[str, Any] = {"generator_widths": [8, 4, 4], "discriminator_widths": [4, 4], "latent": 6}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_generator_moves_first_without_data_and_the_critic_five_times() -> None:
    first, second = load("sngan").phases()
    assert (first.player, first.batch, first.repeats, first.latents) == ("generator", "none", 1, "")
    assert (second.player, second.batch, second.repeats, second.latents) == ("discriminator", "fresh", 5, "")
    assert [phase.player for phase in load("sngan", preset="mimicry32").phases()] == ["discriminator", "generator"]


def test_learning_rate_reaches_zero_after_50_000_steps() -> None:
    lr = load("sngan").config.generator.lr
    assert isinstance(lr, Ramp)
    assert (lr.start, lr.end) == (2e-4, 0)
    assert lr.examples == 50_000 * 5 * 64


def test_hinge_is_of_one_pass_over_both() -> None:
    family = load("sngan", conditional=True, **SMALL)
    networks = family.build(SPEC)
    calls: list[int] = []
    networks["discriminator"].register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    parts = play(family, networks, "discriminator")
    assert calls == [12]
    fake = networks["generator"](latents_of(family)["z"], LABEL)
    on_real, on_fake = (networks["discriminator"](x, LABEL) for x in (REAL, fake))
    torch.testing.assert_close(parts["total"], torch.relu(1 - on_real).mean() + torch.relu(1 + on_fake).mean())


def test_the_generators_turn_has_two_batches_and_labels_drawn_by_counters() -> None:
    family = load("sngan", conditional=True, **SMALL)
    networks = family.build(SPEC)
    seen: list[tuple[int, list[int]]] = []
    networks["generator"].register_forward_hook(lambda _, given, __: seen.append((len(given[0]), given[1].tolist())))
    play(family, networks, "generator")
    play(family, networks, "generator", examples_seen=64)
    turn = make_turn(family, networks, "generator")
    assert seen[0] == (12, even_labels(3, 12, turn.generator("label")).tolist())
    assert seen[0] != seen[1]


def test_a_relativistic_loss_reads_data_and_pairs() -> None:
    family = load("sngan", loss="relativistic", conditional=True, **SMALL)
    networks = family.build(SPEC)
    assert phase_of(family, "generator").batch == "fresh"
    labels: list[list[int]] = []
    networks["generator"].register_forward_hook(lambda _, given, __: labels.append(given[1].tolist()))
    assert torch.isfinite(play(family, networks, "generator")["total"])
    assert labels == [LABEL.tolist()]


@pytest.mark.parametrize("loss", plugins.names("losses"))
def test_plays_every_loss(loss: str) -> None:
    family = load("sngan", loss=loss, **SMALL)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        assert torch.isfinite(play(family, networks, phase)["total"])


@pytest.mark.parametrize("penalty", ["r1", "gradient_penalty", "dragan", "consistency"])
def test_penalties_join_the_loss(penalty: str) -> None:
    family = load("sngan", penalties=penalty, conditional=True, **SMALL)
    parts = play(family, family.build(SPEC), "discriminator")
    torch.testing.assert_close(parts["total"], parts["loss"] + parts["penalty"])
    assert parts["penalty"] > 0


def test_labels_may_be_weights_of_classes() -> None:
    family = load("sngan", conditional=True, **SMALL)
    generator = family.build(SPEC)["generator"].eval()
    z, sharp = latents_of(family)["z"], torch.eye(3)[LABEL]
    torch.testing.assert_close(generator(z, sharp), generator(z, LABEL))


def test_what_the_critic_sees_is_augmented_by_counters() -> None:
    family = load("sngan", augment="diff_augment", **SMALL)
    networks = family.build(SPEC)
    seen: list[torch.Tensor] = []
    networks["discriminator"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for moment in (0, 0, 64):
        play(family, networks, "discriminator", examples_seen=moment)
    assert not torch.equal(seen[0][:6], REAL)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0][:6], seen[2][:6])


def test_latent_consistency_is_pulled_in_d_and_pushed_in_g() -> None:
    family = load("sngan", latent_consistency={"noise": 0.5, "discriminator": 3.0, "generator": 2.0}, **SMALL)
    networks = family.build(SPEC)
    parts = play(family, networks, "discriminator")
    torch.testing.assert_close(parts["total"], parts["loss"] + 3 * parts["latent_consistency"])
    parts = play(family, networks, "generator")
    torch.testing.assert_close(parts["total"], parts["loss"] - 2 * parts["latent_difference"])
    assert parts["latent_difference"] > 0


def test_every_layer_of_the_critic_is_normalised_and_the_generators_only_in_sagan() -> None:
    networks = load("sngan", conditional=True, **SMALL).build(SPEC)
    weights = [name for name, parameter in networks["discriminator"].named_parameters() if name.endswith("weight")]
    assert [f"{name}.weight" for name, _ in spectral_layers(networks["discriminator"])] == weights
    assert not list(spectral_layers(networks["generator"]))
    sagan = load("sngan", preset="sagan_cifar10", latent=6, generator_widths=[8] * 4, discriminator_widths=[8] * 4)
    networks = sagan.build(DataSpec("image", (3, 32, 32), ("a", "b")))
    plain = {type(module) for module in networks["generator"].modules() if hasattr(module, "weight")}
    assert not plain & {nn.Conv2d, nn.Linear}
    assert any(isinstance(module, Spectral) for module in networks["generator"].modules())


def test_the_last_norm_knows_no_class() -> None:
    generator = load("sngan", conditional=True, **SMALL).build(SPEC)["generator"]
    shapes = {name: tuple(parameter.shape) for name, parameter in generator.named_parameters()}
    assert shapes["norm.weight"] == (4,)
    assert shapes["layers.0.norm1.gain"] == (3, 8)
    assert all(torch.equal(p, torch.ones_like(p)) for name, p in generator.named_parameters() if name.endswith("gain"))


def test_starts_glorot_uniform_with_gain_root_two_in_branches() -> None:
    generator = load("sngan", generator_widths=[64, 64, 64]).build(SPEC)["generator"]
    conv, shortcut = (generator.get_submodule(f"layers.0.{name}").weight for name in ("conv1", "shortcut"))
    assert conv.abs().max().item() == pytest.approx((2 * 6 / (9 * 128)) ** 0.5, rel=1e-3)
    assert shortcut.abs().max().item() == pytest.approx((6 / 128) ** 0.5, rel=1e-2)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"halvings": 5}, "halvings: 5 is not allowed; discriminator_widths lists 4 blocks"),
        ({"generator_attention": [4]}, "generator_attention: 4 is not allowed; there are 3 blocks"),
        ({"penalties": "path"}, "there is no penalty 'path'"),
    ],
)
def test_unfit_settings_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load("sngan", **keys)


def test_data_it_cannot_reach_is_refused_with_advice() -> None:
    with pytest.raises(SettingsError, match=r"families\.sngan\.generator: 4 stages need sides that are multiples of 8"):
        load("sngan").check(DataSpec("image", (3, 36, 36)))
    small = load("sngan", generator_widths=[4, 4], discriminator_attention=[2], halvings=2)
    with pytest.raises(SettingsError, match="behind block 2 a side of 4 is 1"):
        small.check(DataSpec("image", (3, 4, 4)))
