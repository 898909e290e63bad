"""Trainable counts of the canonical configs, as measured on each design's reference code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pipeline import plugins
from pipeline.types import DataSpec


def spec(channels: int, side: int, classes: int = 0) -> DataSpec:
    return DataSpec("image", (channels, side, side), tuple(str(index) for index in range(classes)))


def build(settings: dict[str, Any], data: DataSpec) -> list[nn.Module]:
    with torch.device("meta"):
        return list(plugins.load("families", settings).build(data).values())


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


EXACT: list[tuple[dict[str, Any], DataSpec, int, int]] = [
    ({"name": "gan", "preset": "mnist"}, spec(1, 28), 2_503_984, 1_231_441),
    ({"name": "dcgan", "preset": "faces64"}, spec(3, 64), 3_576_704, 2_765_568),
    ({"name": "dcgan"}, spec(1, 64), 3_574_656, 2_763_520),
    ({"name": "r3gan", "preset": "cifar10"}, spec(3, 32, 10), 20_781_952, 21_280_512),
    ({"name": "r3gan"}, spec(3, 32), 20_732_160, 20_683_776),
    ({"name": "r3gan", "preset": "ffhq64"}, spec(3, 64), 22_429_824, 22_381_440),
    ({"name": "r3gan", "preset": "ffhq256"}, spec(3, 256), 23_057_952, 23_009_568),
    ({"name": "r3gan", "preset": "imagenet32"}, spec(3, 32, 1000), 82_914_304, 86_548_992),
    ({"name": "r3gan", "preset": "imagenet64"}, spec(3, 64, 1000), 103_570_432, 107_205_120),
]


@pytest.mark.parametrize(("settings", "data", "generator", "discriminator"), EXACT)
def test_trainable_counts(settings: dict[str, Any], data: DataSpec, generator: int, discriminator: int) -> None:
    assert [trainable(network) for network in build(settings, data)] == [generator, discriminator]


# What the reference's own print-out counts for a generator holds the running statistics of its
# fused batch norms too: two numbers a channel, which no optimiser moves. Norms per unit and per
# class have none there.
WGAN_GP: list[tuple[str, DataSpec, int, int, int]] = [
    ("cifar10_residual", spec(3, 32), 1_206_275, 2 * 7 * 128, 1_053_825),
    ("cifar10_acgan", spec(3, 32, 10), 1_218_563, 2 * 128, 1_055_115),
    ("cifar10_strided", spec(3, 32), 5_180_675, 2 * (256 + 128), 4_114_689),
    ("mnist_strided", spec(1, 28), 1_554_177, 0, 1_030_145),
    ("images64_residual", spec(3, 64), 8_545_347, 2 * 2_432, 7_491_841),
    ("images64_strided", spec(3, 64), 5_366_659, 2 * (512 + 256 + 128 + 64), 4_316_545),
]


@pytest.mark.parametrize(("preset", "data", "generator", "statistics", "critic"), WGAN_GP)
def test_wgan_gp_counts(preset: str, data: DataSpec, generator: int, statistics: int, critic: int) -> None:
    networks = build({"name": "wgan_gp", "preset": preset}, data)
    assert trainable(networks[0]) + statistics == generator
    assert trainable(networks[1]) == critic
