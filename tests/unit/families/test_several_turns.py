"""Designs that keep what both players of a step see: with several turns of D, each turn sees its own batch."""

from __future__ import annotations

from typing import Any

import designs
import games
import pytest
import torch

from pipeline.contract import State, Turn

KEEPING = ("cut", "pix2pix", "srgan")


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", KEEPING)
def test_each_turn_of_the_discriminator_sees_its_own_batch(name: str, steps: int) -> None:
    spec = designs.data_for(name, classes=())
    shared = {"share_fakes": False, "simultaneous": False} if steps > 1 else {}
    family: Any = designs.smoke(name, discriminator_steps=steps, **shared)
    networks, memory = family.build(spec), dict[str, Any]()
    data = games.Data(spec)
    batches = [data.batch(position, 0, 4) for position in (0, 20)]
    assert not torch.equal(batches[0]["x"], batches[1]["x"])
    seen = [
        family.real(Turn(networks, batch, {}, State(0), 0, "discriminator", repeat, {}, memory))
        for repeat, batch in enumerate(batches)
    ]
    assert torch.equal(seen[0], seen[1]) == (steps == 1), "what both players of one step see is made once"
