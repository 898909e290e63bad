"""R2: the discriminator's gradient at fakes is drawn towards zero (Mescheder et al. 2018)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pipeline.contract import Scheduled, Scores, scheduled_value
from pipeline.penalties._shared import input_gradients, leaf, squared_norm
from pipeline.settings import Settings


class Config(Settings):
    """γ as for R1."""

    gamma: Scheduled = Field(default=10.0, description="γ of γ/2 · E‖∇D(G)‖²")


class Penalty:
    """“Which training methods for GANs do actually converge?”, Mescheder et al. 2018, equation 10.

    γ/2 · E[‖∇ₓ D(x)‖²] at fakes, differentiated by the fake itself and never through the generator.
    """

    needs_fake = True
    per_example = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(
        self, discriminator: Scores, real: Tensor, fake: Tensor, generator: torch.Generator, examples_seen: int = 0
    ) -> Tensor:
        x = leaf(fake)
        (gradient,) = input_gradients([discriminator(x)], [x])
        return 0.5 * scheduled_value(self.config.gamma, examples_seen) * squared_norm(gradient).mean()
