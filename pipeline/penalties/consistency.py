"""Consistency regularisation: the discriminator is to say the same of an image flipped or shifted (CR, bCR)."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pipeline.contract import Scores
from pipeline.settings import Settings


class Config(Settings):
    """CR by default; `fake: 10` makes it balanced (bCR). ICR is bCR beside a family's `latent_consistency`."""

    real: float = Field(default=10.0, ge=0, description="λ at reals")
    fake: float = Field(default=0.0, ge=0, description="λ at fakes; above 0: bCR")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a flip along the last axis")
    shift: float = Field(default=0.125, ge=0, le=0.5, description="largest shift, as a share of each spatial axis")

    @model_validator(mode="after")
    def _does_something(self) -> Config:
        if not self.real and not self.fake:
            raise ValueError("real: 0 is not allowed while fake is 0 too; nothing would be penalised")
        if not self.flip and not self.shift:
            raise ValueError("shift: 0 is not allowed while flip is 0 too; an unchanged image teaches nothing")
        return self


class Penalty:
    """“Consistency regularization for GANs”, Zhang et al. 2020, equation 5; bCR, Zhao et al. 2021, algorithm 1.

    λ_real · E[(D(x) − D(T(x)))²] + λ_fake · E[(D(G) − D(T(G)))²], T a flip and a shift drawn for each
    example; what a shift uncovers repeats the border.
    """

    per_example = False

    def __init__(self, config: Config) -> None:
        self.config = config
        self.needs_fake = config.fake > 0

    def __call__(
        self, discriminator: Scores, real: Tensor, fake: Tensor, generator: torch.Generator, examples_seen: int = 0
    ) -> Tensor:
        total = real.new_zeros(())
        for weight, x in ((self.config.real, real), (self.config.fake, fake)):
            if weight:
                x = x.detach()
                changed = self.augment(x, generator)
                total = total + weight * (discriminator(x) - discriminator(changed)).square().mean()
        return total

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each example (n, c, …) flipped and shifted by draws of its own; differentiable in x."""
        count = x.shape[0]
        flipped = torch.rand(count, generator=generator) < self.config.flip
        for axis in range(min(2, x.dim() - 1), x.dim()):
            length = x.shape[axis]
            most = max(1, round(self.config.shift * length)) if self.config.shift else 0
            offsets = torch.randint(-most, most + 1, (count, 1), generator=generator)
            index = (torch.arange(length) - offsets).clamp(0, length - 1)
            if axis == x.dim() - 1:
                index = torch.where(flipped[:, None], length - 1 - index, index)
            shape = [1] * x.dim()
            shape[0], shape[axis] = count, length
            x = x.gather(axis, index.to(x.device).view(shape).expand_as(x))
        return x
