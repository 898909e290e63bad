"""The four designs far from DCGAN's shape have the published numbers of parameters, built on the meta device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.families._shared import Canon, count_parameters

RESNET9, RESNET6, PATCHES = 11_378_179, 7_837_699, 2_764_737

# family → preset → parameters of each network, as counted on the design's reference code.
PUBLISHED: dict[str, dict[str, dict[str, int]]] = {
    "pix2pix": {
        "facades256": {"generator": 54_413_955, "discriminator": 2_768_705},
        "unet128": {"generator": 41_828_995, "discriminator": 2_768_705},
        "pixel128": {"generator": 41_828_995, "discriminator": 9_024},
    },
    "cyclegan": {
        preset: {
            "generator_forth": generator,
            "discriminator_forth": PATCHES,
            "generator_back": generator,
            "discriminator_back": PATCHES,
        }
        for preset, generator in (("horse2zebra256", RESNET9), ("images128", RESNET6))
    },
    "wavegan": {
        "sc09": {"generator": 19_065_345, "discriminator": 17_427_969},
        "seconds4": {"generator": 73_149_953, "discriminator": 69_875_201},
    },
    "adversarial_cryptography": {
        "paper": {"alice": 1_111, "bob": 1_111, "eve": 599},
        "code": {"alice": 1_075, "bob": 1_075, "eve": 563},
    },
}
CASES = [(family, preset) for family, found in PUBLISHED.items() for preset in found]


def canon_of(family: str) -> dict[str, Canon]:
    return plugins.module("families", family).CANON


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_parameters_are_the_published_number(name: str, preset: str) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, "preset": preset})
    with torch.device("meta"):
        networks = family.build(canon_of(name)[preset].spec)
    assert {key: count_parameters(network) for key, network in networks.items()} == PUBLISHED[name][preset]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_preset_is_counted(name: str) -> None:
    assert set(canon_of(name)) == set(PUBLISHED[name])
    assert all(found.reference for found in canon_of(name).values())


def test_the_filter_behind_the_generator_adds_its_taps_and_no_bias() -> None:
    plain, filtered = (
        count_parameters(_generator({"name": "wavegan", "preset": preset})) for preset in ("sc09", "drums_filtered")
    )
    assert filtered - plain == 512


def _generator(settings: dict[str, Any]) -> torch.nn.Module:
    with torch.device("meta"):
        return plugins.load("families", settings).build(canon_of("wavegan")["sc09"].spec)["generator"]
