from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from turns import LABEL, REAL, SPEC, latents_of, load, phase_of, play

from pipeline import plugins
from pipeline.errors import SettingsError

DENSE: dict[str, Any] = {"preset": "original64", "generator_width": 4, "discriminator_width": 4, "latent": 8}
PAIRED: dict[str, Any] = {"preset": "cifar10", "generator_width": 4, "discriminator_width": 4, "latent": 8, "levels": 2}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_parameters_stand_in_the_order_of_the_reference() -> None:
    """A convolution's weights, then the gain and bias of the norm behind it, from the noise to the image."""
    networks = load("dcgan", generator_width=4, discriminator_width=4, latent=8).build(SPEC)
    shapes = {name: [tuple(p.shape) for p in net.parameters()] for name, net in networks.items()}
    assert shapes["generator"] == [(8, 8, 4, 4), (8,), (8,), (8, 4, 4, 4), (4,), (4,), (4, 1, 4, 4)]
    assert shapes["discriminator"] == [(4, 1, 4, 4), (8, 4, 4, 4), (8,), (8,), (1, 8, 4, 4)]


def test_the_original_has_norms_of_units_and_kernels_of_five() -> None:
    networks = load("dcgan", **DENSE).build(SPEC)
    shapes = [tuple(p.shape) for p in networks["generator"].parameters()]
    assert shapes == [(128, 8), (128,), (128,), (8, 4, 5, 5), (4,), (4,), (4, 1, 5, 5)]
    assert [tuple(p.shape) for p in networks["discriminator"].parameters()][-1] == (1, 128)
    norms = [
        module for module in networks["generator"].modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    assert {norm.eps for norm in norms} == {1e-8}
    assert load("dcgan", **DENSE).latents[0].distribution == "uniform"


@pytest.mark.parametrize("keys", [DENSE, PAIRED], ids=["dense", "paired"])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("loss", plugins.names("losses"))
def test_variants_play_every_loss(keys: dict[str, Any], conditional: bool, loss: str) -> None:
    family = load("dcgan", **keys, conditional=conditional, loss=loss)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        assert torch.isfinite(play(family, networks, phase)["total"])
    label: Any = {"label": LABEL} if conditional else {}
    assert family.sample(networks, latents_of(family), label).shape == REAL.shape


def test_studiogan_plays_two_turns_of_d() -> None:
    assert phase_of(load("dcgan", preset="cifar10"), "discriminator").repeats == 2


def test_labels_may_be_weights_of_classes() -> None:
    for keys in ({}, {"label_in_generator": "norm"}):
        family = load("dcgan", generator_width=4, discriminator_width=4, latent=8, conditional=True, **keys)
        generator = family.build(SPEC)["generator"].eval()
        z = latents_of(family)["z"]
        torch.testing.assert_close(generator(z, torch.eye(3)[LABEL]), generator(z, LABEL))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"architecture": "dense", "upsampling": "nearest"}, "upsampling: architecture dense has transposed"),
        ({"architecture": "paired", "discriminator_norm": "none"}, "discriminator_norm: architecture paired has batch"),
        ({"architecture": "dense", "label_in_generator": "norm"}, "takes labels beside the noise alone"),
        ({"discriminator_steps": 2}, "share_fakes: one set of fakes cannot serve several turns of D"),
        ({"penalties": "gradient_penalty"}, "set discriminator_norm to layer or none, or take r1"),
    ],
)
def test_unfit_combinations_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load("dcgan", **keys)
