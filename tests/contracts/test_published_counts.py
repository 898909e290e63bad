"""Every published configuration has the published number of parameters, built on the meta device."""

from __future__ import annotations

import pytest
import torch

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.families._shared import Canon, count_parameters

# family → preset → parameters of each network, as counted on the design's reference code.
PUBLISHED: dict[str, dict[str, dict[str, int]]] = {
    "biggan": {
        "imagenet128": {"generator": 70_433_988, "discriminator": 87_982_370},
        "imagenet128_ch64": {"generator": 31_978_628, "discriminator": 39_448_258},
        "imagenet128_deep": {"generator": 50_244_484, "discriminator": 34_590_210},
        "cifar10": {"generator": 4_304_387, "discriminator": 4_207_361},
        "cifar10_studiogan": {"generator": 9_416_196, "discriminator": 2_415_170},
    },
    "cgan": {
        "mnist": {"generator": 2_413_984, "discriminator": 1_224_351},
        "mnist_strided": {"generator": 6_820_538, "discriminator": 6_688_202},
    },
    "dcgan": {
        "faces64": {"generator": 3_576_704, "discriminator": 2_765_568},
        "grey64": {"generator": 3_574_656, "discriminator": 2_763_520},
        "original64": {"generator": 18_885_760, "discriminator": 17_232_768},
        "cifar10": {"generator": 3_812_355, "discriminator": 2_931_009},
    },
    "gan": {"mnist": {"generator": 2_503_984, "discriminator": 1_231_441}},
    "infogan": {"mnist": {"generator": 6_652_481, "discriminator": 6_559_169, "recogniser": 133_262}},
    "lapgan": {
        "cifar10": {
            "generator_0": 1_804_992,
            "discriminator_0": 483_001,
            "generator_1": 224_131,
            "discriminator_1": 112_769,
            "generator_2": 232_579,
            "discriminator_2": 129_409,
        },
        # The unconditional base is counted by hand: 10 inputs fewer in each first layer.
        "cifar10_uncond": {
            "generator_0": 1_804_992 - 10 * 1200,
            "discriminator_0": 483_001 - 10 * 600,
            "generator_1": 218_179,
            "discriminator_1": 108_353,
            "generator_2": 218_179,
            "discriminator_2": 116_545,
        },
    },
    "r3gan": {
        "cifar10": {"generator": 20_781_952, "discriminator": 21_280_512},
        "cifar10_uncond": {"generator": 20_732_160, "discriminator": 20_683_776},
        "ffhq64": {"generator": 22_429_824, "discriminator": 22_381_440},
        "ffhq256": {"generator": 23_057_952, "discriminator": 23_009_568},
        "imagenet32": {"generator": 82_914_304, "discriminator": 86_548_992},
        "imagenet64": {"generator": 103_570_432, "discriminator": 107_205_120},
    },
    "sngan": {
        "cifar10": {"generator": 4_276_739, "discriminator": 1_053_824},
        "cifar10_projection": {"generator": 4_304_387, "discriminator": 1_055_104},
        "mimicry32": {"generator": 4_276_739, "discriminator": 1_053_825},
        "mimicry48": {"generator": 4_878_083, "discriminator": 10_141_441},
        "mimicry64": {"generator": 12_220_675, "discriminator": 10_141_441},
        "mimicry128": {"generator": 32_150_787, "discriminator": 29_017_857},
        "imagenet128": {"generator": 41_996_931, "discriminator": 30_041_857},
        "sagan_cifar10": {"generator": 4_386_308, "discriminator": 1_075_586},
    },
    "wgan": {
        "dcgan64": {"generator": 3_576_704, "discriminator": 2_765_568},
        "mlp64": {"generator": 813_504, "discriminator": 794_881},
    },
    "wgan_gp": {
        "cifar10_residual": {"generator": 1_206_275, "discriminator": 1_053_825},
        "cifar10_acgan": {"generator": 1_218_563, "discriminator": 1_055_115},
        "cifar10_strided": {"generator": 5_180_675, "discriminator": 4_114_689},
        "mnist_strided": {"generator": 1_554_177, "discriminator": 1_030_145},
        "images64_residual": {"generator": 8_545_347, "discriminator": 7_491_841},
        "images64_strided": {"generator": 5_366_659, "discriminator": 4_316_545},
        "mimicry32": {"generator": 4_276_739, "discriminator": 1_053_825},
    },
}

CASES = [(family, preset) for family, found in PUBLISHED.items() for preset in found]


def canon_of(family: str) -> dict[str, Canon]:
    return getattr(plugins.module("families", family), "CANON", {})


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_parameters_are_the_published_number(name: str, preset: str) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, "preset": preset})
    with torch.device("meta"):
        networks = family.build(canon_of(name)[preset].spec)
    found = {key: count_parameters(network) for key, network in networks.items()}
    assert found == PUBLISHED[name][preset]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_preset_is_counted_and_conditional_as_its_data(name: str) -> None:
    canon = canon_of(name)
    assert set(canon) == set(PUBLISHED[name])
    for preset, published in canon.items():
        family: AnyFamily = plugins.load("families", {"name": name, "preset": preset})
        assert family.conditional is bool(published.classes), preset
        assert published.reference
