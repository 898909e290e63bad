"""Every family can be searched by a population: its optimisers' values change nothing else, its networks do."""

from __future__ import annotations

import pytest
from designs import smoke

from pipeline import plugins
from pipeline.contract import Optimiser
from pipeline.params.stand_ins import stand_in
from pipeline.training import schedules


@pytest.mark.parametrize("name", plugins.names("families"))
def test_rates_change_and_widths_do_not(name: str) -> None:
    family = smoke(name)
    spec = stand_in(family)
    assert spec is not None, "no data of the kind that its file names"
    players = [key for key, value in family.config if isinstance(value, Optimiser)]
    assert players
    slower = smoke(name, **{key: {"lr": 1e-6, "beta1": 0.3} for key in players})
    assert schedules.unlike(family, slower, spec) is None
    # What all networks hang on, under one of these names.
    sizes = [key for key in ("latent", "width", "generator_width") if hasattr(family.config, key)]
    for key in sizes[:1]:
        assert schedules.unlike(family, smoke(name, **{key: getattr(family.config, key) * 2}), spec) is not None
