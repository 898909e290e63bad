"""DRAGAN's penalty: norm 1 around the reals (Kodali et al. 2017)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pipeline.contract import Scores
from pipeline.penalties._shared import input_gradients, leaf, norm
from pipeline.settings import Settings


class Config(Settings):
    """The authors' code: λ = 10, noise of half the batch's standard deviation."""

    weight: float = Field(default=10.0, ge=0, description="λ")
    target: float = Field(default=1.0, ge=0, description="the norm asked for")
    spread: float = Field(default=0.5, gt=0, description="noise in standard deviations of the batch")


class Penalty:
    """“On convergence and stability of GANs”, Kodali et al. 2017, equation 2.

    λ · E[(‖∇D(x + δ)‖₂ − 1)²], δ = spread · std(x) · U(0, 1) per number.
    """

    needs_fake = False
    per_example = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(
        self, discriminator: Scores, real: Tensor, fake: Tensor, generator: torch.Generator, examples_seen: int = 0
    ) -> Tensor:
        noise = torch.rand(real.shape, generator=generator).to(real.device)
        x = leaf(real + self.config.spread * real.std() * noise)
        (gradient,) = input_gradients([discriminator(x)], [x])
        return self.config.weight * (norm(gradient) - self.config.target).square().mean()
