"""Trainable counts of the grown and style-based designs at every published size, on the meta device."""

from __future__ import annotations

import pytest
import torch

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.families._shared import Canon, count_parameters

# Generator, discriminator; every image head counted, the mapping within the generator.
PROGAN = {
    "images32": (20_719_628, 20_726_785),
    "images32_cond": (20_801_548, 20_731_915),
    "images64": (22_490_383, 22_498_049),
    "images128": (22_933_394, 22_941_313),
    "images256": (23_044_309, 23_052_353),
    "images512": (23_072_120, 23_080_225),
    "images1024": (23_079_115, 23_087_249),
}
STYLEGAN = {
    "images32": (22_841_356, 20_726_785),
    "images64": (25_137_935, 22_498_049),
    "images128": (25_843_858, 22_941_313),
    "images256": (26_086_229, 23_052_353),
    "images512": (26_179_768, 23_080_225),
    "images1024": (26_219_627, 23_087_249),
}
STYLEGAN2 = {
    "config_f1024": (30_370_060, 29_012_513),
    "config_f512": (30_276_583, 28_982_849),
    "config_f256": (30_034_338, 28_864_129),
    "paper256": (24_767_458, 24_001_089),
    "cifar10": (19_947_539, 20_720_641),
    "cifar10_cond": (20_215_315, 23_089_664),
    "auto64": (22_243_608, 23_407_361),
    "auto128": (22_949_277, 23_882_369),
    "auto256": (23_191_522, 24_001_089),
}
ROWS = [
    (family, preset, *counts)
    for family, rows in (("progan", PROGAN), ("stylegan", STYLEGAN), ("stylegan2", STYLEGAN2))
    for preset, counts in rows.items()
]


def canon_of(family: str) -> dict[str, Canon]:
    return plugins.module("families", family).CANON


@pytest.mark.parametrize(("name", "preset", "generator", "discriminator"), ROWS)
def test_trainable_counts(name: str, preset: str, generator: int, discriminator: int) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, "preset": preset})
    with torch.device("meta"):
        networks = family.build(canon_of(name)[preset].spec)
    assert count_parameters(networks["generator"]) == generator
    assert count_parameters(networks["discriminator"]) == discriminator


@pytest.mark.parametrize("name", ["progan", "stylegan", "stylegan2"])
def test_every_published_size_has_a_preset_and_a_row(name: str) -> None:
    rows = {preset for family, preset, _, _ in ROWS if family == name}
    assert rows == set(canon_of(name))
    assert rows | {"zoo", "smoke"} == set(plugins.module("families", name).PRESETS)
    for preset, published in canon_of(name).items():
        family: AnyFamily = plugins.load("families", {"name": name, "preset": preset})
        assert family.conditional is bool(published.classes), preset


def test_the_mapping_is_counted_within_the_generator() -> None:
    with torch.device("meta"):
        networks = plugins.load("families", {"name": "stylegan"}).build(canon_of("stylegan")["images32"].spec)
        small = plugins.load("families", {"name": "stylegan2", "preset": "cifar10"})
        built = small.build(canon_of("stylegan2")["cifar10"].spec)
    assert count_parameters(networks["generator"].mapping) == 2_101_248  # pyright: ignore[reportArgumentType]
    assert count_parameters(built["generator"].mapping) == 525_312  # pyright: ignore[reportArgumentType]
    assert count_parameters(built["generator"].synthesis) == 19_422_227  # pyright: ignore[reportArgumentType]
