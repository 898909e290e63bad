"""Instance noise: Gaussian noise on what the discriminator sees, fading as training goes on."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pipeline.contract import Ramp, Scheduled, State, scheduled_value
from pipeline.settings import Settings


class Config(Settings):
    """Images lie in [−1, 1]; a deviation of 0.1 is 13 grey levels."""

    deviation: Scheduled = Field(
        default=Ramp(start=0.1, end=0.0, examples=100_000), description="of the noise; a number, or a ramp"
    )


class Augmentation:
    """x + σ ε, ε ~ N(0, 1), on reals and fakes alike (Sønderby et al. 2017; Arjovsky & Bottou 2017).

    The two distributions then overlap everywhere, so that a discriminator that tells them apart early still
    has a gradient to give. σ falls to nothing on the clock of examples seen.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def state(self) -> dict[str, Tensor]:
        return {}

    def __call__(self, x: Tensor, state: State, generator: torch.Generator) -> Tensor:
        deviation = scheduled_value(self.config.deviation, state.examples_seen)
        if deviation == 0:
            return x
        return x + deviation * torch.randn(x.shape, generator=generator).to(x.device)

    def after_step(self, state: State, sign: float | None) -> None:
        """Nothing moves."""
