from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from turns import LABEL, SPEC, latents_of, load, play

from pipeline import plugins
from pipeline.contract import scheduled_value as value
from pipeline.errors import SettingsError

PERCEPTRON: dict[str, Any] = {
    "latent": 8,
    "generator_branches": [6, 5],
    "generator_joint": 7,
    "discriminator_units": [6, 4, 5],
    "discriminator_pieces": [2, 2, 2],
}
STRIDED: dict[str, Any] = {"preset": "smoke", "latent": 8, "generator_width": 4, "discriminator_width": 4, "dense": 8}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_paper_moves_both_at_once_and_the_code_in_turn() -> None:
    assert [(phase.apply, phase.latents) for phase in load("cgan").phases()] == [("end", "z"), ("end", "z")]
    strided = load("cgan", preset="mnist_strided")
    assert [(phase.apply, phase.latents) for phase in strided.phases()] == [("now", ""), ("now", "")]
    assert strided.config.generator.weight_decay == pytest.approx(2.5e-5)


def test_learning_rate_falls_as_in_the_paper() -> None:
    optimiser = load("cgan").config.generator
    for updates in (0, 1000, 100_000):
        assert value(optimiser.lr, 100 * updates) == pytest.approx(0.1 / 1.00004**updates, rel=1e-6)
    assert value(optimiser.lr, 10**9) == pytest.approx(1e-6)


def test_noise_fills_the_unit_hypercube_and_samples_stay_in_range() -> None:
    family = load("cgan", **PERCEPTRON)
    networks = family.build(SPEC)
    seen: list[torch.Tensor] = []
    networks["generator"].stack.noise.register_forward_pre_hook(  # pyright: ignore
        lambda _, given: seen.append(given[0])
    )
    z = torch.tensor([[-1.0] * 8, [1.0] * 8])
    x = family.sample(networks, {"z": z}, {"label": torch.tensor([0, 1])})
    assert seen[0].tolist() == [[0.0] * 8, [1.0] * 8]
    assert x.abs().max() <= 1


def test_labels_stand_beside_every_layer_of_the_strided_pair() -> None:
    networks = load("cgan", **STRIDED).build(SPEC)
    inputs: dict[str, int] = {}
    for name, network in networks.items():
        for key, module in network.named_modules():
            if isinstance(module, nn.Linear):
                inputs[f"{name}.{key}"] = module.in_features
            elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                inputs[f"{name}.{key}"] = module.in_channels
    plain = load("cgan", conditional=False, **STRIDED).build(SPEC)
    for name, network in plain.items():
        for key, module in network.named_modules():
            if f"{name}.{key}" in inputs:
                before = module.in_features if isinstance(module, nn.Linear) else module.in_channels  # pyright: ignore
                assert inputs[f"{name}.{key}"] == before + 3, key
    assert len(inputs) == 8


def test_embeddings_are_a_field_and_change_the_count() -> None:
    one_hot = load("cgan", **PERCEPTRON).build(SPEC)
    embedded = load("cgan", label="embedding", label_embedding=2, **PERCEPTRON).build(SPEC)
    count = {k: sum(p.numel() for p in net.parameters()) for k, net in one_hot.items()}
    other = {k: sum(p.numel() for p in net.parameters()) for k, net in embedded.items()}
    assert other["generator"] - count["generator"] == 3 * 2 - 5  # a table, and one input less to five units
    assert other["discriminator"] - count["discriminator"] == 3 * 2 - 8


def test_dropout_is_counted_and_absent_from_samples() -> None:
    family = load("cgan", **PERCEPTRON)
    networks = family.build(SPEC)
    one, two = (play(family, networks, "discriminator")["total"] for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, play(family, networks, "discriminator", examples_seen=64)["total"])
    label: Any = {"label": LABEL}
    pair = [family.sample(networks, latents_of(family), label) for _ in range(2)]
    assert torch.equal(*pair)


@pytest.mark.parametrize("loss", plugins.names("losses"))
@pytest.mark.parametrize("keys", [PERCEPTRON, STRIDED], ids=["perceptron", "strided"])
def test_plays_every_loss(loss: str, keys: dict[str, Any]) -> None:
    family = load("cgan", **keys, loss=loss)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        assert torch.isfinite(play(family, networks, phase)["total"])


def test_penalties_join_the_loss_where_they_fit() -> None:
    family = load("cgan", penalties="gradient_penalty", **PERCEPTRON)
    parts = play(family, family.build(SPEC), "discriminator")
    torch.testing.assert_close(parts["total"], parts["loss"] + parts["penalty"])
    with pytest.raises(
        SettingsError, match="penalties: gradient_penalty asks for a norm of the gradient at each example"
    ):
        load("cgan", penalties="gradient_penalty", **STRIDED)
