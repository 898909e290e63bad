"""Our weights under a reference's names give the reference's numbers: the maps of names say which is which."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from references import (
    BIGGAN_DISCRIMINATOR,
    BIGGAN_GENERATOR,
    MIMICRY_DISCRIMINATOR,
    MIMICRY_GENERATOR,
    STUDIO_DISCRIMINATOR,
    STUDIO_GENERATOR,
    NameMap,
    Weights,
    biggan_discriminator,
    biggan_generator,
    mimicry_discriminator,
    mimicry_generator,
    studio_discriminator,
    studio_generator,
)
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.types import DataSpec

CLASSES = ("a", "b", "c")
LABEL = torch.tensor([0, 2, 1])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def networks_of(settings: dict[str, Any], spec: DataSpec) -> dict[str, nn.Module]:
    """Networks whose every number was drawn, biases, statistics and gains too."""
    family: AnyFamily = plugins.load("families", settings)
    torch.manual_seed(0)
    networks = family.build(spec)
    for network in networks.values():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not name.endswith(".u"):
                tensor.add_((torch.rand(tensor.shape) - 0.5) * 0.2)
    return {name: network.eval() for name, network in networks.items()}


def assert_same(ours: Tensor, weights: Weights, theirs: Tensor) -> None:
    """The numbers are the reference's, and its formula read every weight that it was given.

    Sums of float32 in another order differ by millionths of the largest number.
    """
    assert weights.read == set(weights)
    ours, theirs = ours.detach(), theirs.detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    assert theirs.std() > 1e-2 * theirs.abs().mean(), "and they are not all one number"


def test_mimicry_s_sngan() -> None:
    settings = {
        "name": "sngan",
        "preset": "mimicry32",
        "latent": 6,
        "generator_widths": [8] * 4,
        "discriminator_widths": [8] * 4,
    }
    networks = networks_of(settings, DataSpec("image", (3, 32, 32)))
    z = torch.randn(3, 6)
    weights = MIMICRY_GENERATOR.carried(networks["generator"])
    image = networks["generator"](z)
    assert_same(image, weights, mimicry_generator(weights, z))
    weights = MIMICRY_DISCRIMINATOR.carried(networks["discriminator"])
    wanted = mimicry_discriminator(weights, image)
    assert_same(networks["discriminator"](image), weights, wanted.flatten())


def test_biggan_pytorch() -> None:
    settings = {
        "name": "biggan",
        "preset": "smoke",
        "latent": 9,
        "width": 8,
        "shared_embedding": 5,
        "generator_multiples": [2, 1, 1],
        "discriminator_multiples": [1, 2, 2],
        "generator_attention": [1],
        "discriminator_attention": [1],
    }
    networks = networks_of(settings, DataSpec("image", (3, 16, 16), CLASSES))
    z = torch.randn(3, 9)
    weights = BIGGAN_GENERATOR.carried(networks["generator"])
    image = networks["generator"](z, LABEL)
    assert_same(image, weights, biggan_generator(weights, z, LABEL, 3, (4, 4)))
    weights = BIGGAN_DISCRIMINATOR.carried(networks["discriminator"])
    wanted = biggan_discriminator(weights, image, LABEL)
    assert_same(networks["discriminator"](image, LABEL), weights, wanted.flatten())


def test_studiogan_s_sagan() -> None:
    settings = {
        "name": "sngan",
        "preset": "sagan_cifar10",
        "latent": 6,
        "generator_widths": [8] * 4,
        "discriminator_widths": [8] * 4,
    }
    networks = networks_of(settings, DataSpec("image", (3, 32, 32), CLASSES))
    z = torch.randn(3, 6)
    weights = STUDIO_GENERATOR.carried(networks["generator"])
    image = networks["generator"](z, LABEL)
    assert_same(image, weights, studio_generator(weights, z, LABEL, 3))
    weights = STUDIO_DISCRIMINATOR.carried(networks["discriminator"])
    wanted = studio_discriminator(weights, image, LABEL)
    assert_same(networks["discriminator"](image, LABEL), weights, wanted)


def test_a_weight_without_a_name_there_is_seen() -> None:
    with pytest.raises(KeyError, match="1"):
        NameMap({"0": "first"}, {"weight": "weight", "bias": "bias"}).carried(
            nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        )
