"""One turn of one phase by hand, for tests of a family's objectives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline import plugins
from pipeline.contract import AnyFamily, Networks, Phase, State, Turn, draw_latents
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (1, 16, 16), ("a", "b", "c"))
COUNT = 6
REAL = torch.rand((COUNT, 1, 16, 16), generator=torch.Generator().manual_seed(0)) * 2 - 1
LABEL = torch.arange(COUNT) % 3


def load(name: str, **keys: Any) -> AnyFamily:
    """A family from its settings."""
    return plugins.load("families", {"name": name, **keys})


def phase_of(family: AnyFamily, name: str) -> Phase:
    """The phase of that name."""
    (found,) = (phase for phase in family.phases() if phase.name == name)
    return found


def latents_of(family: AnyFamily) -> dict[str, Tensor]:
    """The noise that `turn` plays with."""
    return draw_latents(family.latents, COUNT, torch.Generator().manual_seed(4))


def make_turn(family: AnyFamily, networks: Networks, phase: str, **state: int) -> Turn:
    """A turn on REAL and LABEL, as far as the phase reads data."""
    batch: Batch = {} if phase_of(family, phase).batch == "none" else {"x": REAL, "label": LABEL}
    return Turn(networks, batch, latents_of(family), State(seed=0, **state), 0, phase)


def play(family: AnyFamily, networks: Networks, phase: str, **state: int) -> dict[str, Tensor]:
    """The parts of the phase's objective."""
    return phase_of(family, phase).objective(make_turn(family, networks, phase, **state))
