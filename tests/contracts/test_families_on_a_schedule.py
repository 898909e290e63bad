"""Every family can be searched by a population: its optimisers' values change nothing else, its networks do."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import plugins
from pipeline.contract import AnyFamily, Optimiser
from pipeline.params.space import stand_in
from pipeline.training import schedules
from pipeline.types import DataSpec, like_x

ELSEWHERE: dict[str, DataSpec] = {
    "adversarial_cryptography": DataSpec("rows", (16,), (), "float32"),
    "cyclegan": DataSpec("image", (3, 32, 32), ("a", "b"), fields=like_x({"unpaired": (3, 32, 32)})),
    "pix2pix": DataSpec("image", (3, 32, 32), ("a", "b"), fields=like_x({"pair": (3, 32, 32)})),
    "wavegan": DataSpec("waveform", (1, 16384), ("a", "b"), "float32", rate=16_000),
}


def load(name: str, **keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": name, "preset": "smoke", **keys})


@pytest.mark.parametrize("name", plugins.names("families"))
def test_rates_change_and_widths_do_not(name: str) -> None:
    family = load(name)
    spec = stand_in(family)
    assert (spec is None) == (name in ELSEWHERE)
    spec = spec or ELSEWHERE[name]
    players = [key for key, value in family.config if isinstance(value, Optimiser)]
    assert players
    slower = load(name, **{key: {"lr": 1e-6, "beta1": 0.3} for key in players})
    assert schedules.unlike(family, slower, spec) is None
    # What all networks hang on, under one of these names.
    sizes = [key for key in ("latent", "width", "generator_width") if hasattr(family.config, key)]
    for key in sizes[:1]:
        assert schedules.unlike(family, load(name, **{key: getattr(family.config, key) * 2}), spec) is not None
