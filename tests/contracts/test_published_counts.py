"""Every published configuration has the published number of parameters, built on the meta device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from designs import NAMES, canon_of, presets_of
from torch import nn

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.families._shared import count_parameters
from pipeline.types import DataSpec

CASES = [(name, preset) for name in NAMES for preset in canon_of(name)]


def build(settings: dict[str, Any], spec: DataSpec) -> dict[str, nn.Module]:
    with torch.device("meta"):
        return plugins.load("families", settings).build(spec)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_parameters_are_the_published_number(name: str, preset: str) -> None:
    published = canon_of(name)[preset]
    networks = build({"name": name, "preset": preset}, published.spec)
    idle = published.idle or (0,) * len(networks)
    counted = (count_parameters(network) + more for network, more in zip(networks.values(), idle, strict=True))
    assert tuple(counted) == published.counts


@pytest.mark.parametrize("name", NAMES)
def test_every_design_has_a_published_preset_named_and_conditional_as_its_data(name: str) -> None:
    assert canon_of(name)
    assert set(canon_of(name)) <= set(presets_of(name))
    for preset, published in canon_of(name).items():
        family: AnyFamily = plugins.load("families", {"name": name, "preset": preset})
        assert family.conditional is bool(published.classes), preset
        assert published.reference


def test_the_filter_behind_wavegan_s_generator_adds_its_taps_and_no_bias() -> None:
    spec = canon_of("wavegan")["sc09"].spec
    plain, filtered = (
        count_parameters(build({"name": "wavegan", "preset": preset}, spec)["generator"])
        for preset in ("sc09", "drums_filtered")
    )
    assert filtered - plain == 512


def test_a_mapping_is_counted_within_its_generator() -> None:
    stylegan = build({"name": "stylegan"}, canon_of("stylegan")["images32"].spec)["generator"]
    small = build({"name": "stylegan2", "preset": "cifar10"}, canon_of("stylegan2")["cifar10"].spec)["generator"]
    assert count_parameters(stylegan.mapping) == 2_101_248  # pyright: ignore[reportArgumentType]
    assert count_parameters(small.mapping) == 525_312  # pyright: ignore[reportArgumentType]
    assert count_parameters(small.synthesis) == 19_422_227  # pyright: ignore[reportArgumentType]
