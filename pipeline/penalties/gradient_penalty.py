"""WGAN-GP's gradient penalty: norm 1 between reals and fakes (Gulrajani et al. 2017)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pipeline.contract import Scores
from pipeline.penalties._shared import input_gradients, leaf, norm
from pipeline.settings import Settings


class Config(Settings):
    """The paper's λ = 10 and target 1; `one_sided` leaves norms below the target alone."""

    weight: float = Field(default=10.0, ge=0, description="λ")
    target: float = Field(default=1.0, ge=0, description="the norm asked for")
    one_sided: bool = False


class Penalty:
    """“Improved training of Wasserstein GANs”, Gulrajani et al. 2017, equation 3.

    λ · E[(‖∇D(x̂)‖₂ − 1)²], x̂ = x + α(G − x), α ~ U(0, 1) per example, norm over all numbers of an
    example, no epsilon under the root. α is drawn on the CPU and moved.
    """

    needs_fake = True
    per_example = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(
        self, discriminator: Scores, real: Tensor, fake: Tensor, generator: torch.Generator, examples_seen: int = 0
    ) -> Tensor:
        shape = (real.shape[0], *[1] * (real.dim() - 1))
        alpha = torch.rand(shape, generator=generator).to(real.device)
        x = leaf(real + alpha * (fake - real))
        (gradient,) = input_gradients([discriminator(x)], [x])
        excess = norm(gradient) - self.config.target
        if self.config.one_sided:
            excess = excess.clamp(min=0)
        return self.config.weight * excess.square().mean()
