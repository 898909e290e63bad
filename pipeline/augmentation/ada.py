"""ADA: augmentation whose probability follows how far the discriminator overfits (Karras et al. 2020b)."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pipeline.augmentation import _affine
from pipeline.contract import Scheduled, State, scheduled_value
from pipeline.settings import Settings

P = "augment_p"
SUM = "augment_sign_sum"
COUNT = "augment_sign_count"
SEEN = "augment_seen"


class Config(Settings):
    """The pipeline “bgc” (blits, geometry, colour) of StyleGAN2-ADA; `cutout: 1` and `color: 0.5` are R3GAN's.

    blit … cutout multiply p for their group of transforms; 0 leaves the group out.
    """

    p: Scheduled | None = Field(default=None, description="fixed or ramped probability; none: adaptive from 0")
    target: float = Field(default=0.6, gt=0, lt=1, description="adaptive: E[sign D(real)] that is aimed at")
    examples: int = Field(default=500_000, gt=0, description="adaptive: examples in which p can move from 0 to 1")
    interval: int = Field(default=4, ge=1, description="adaptive: steps between moves of p")
    blit: float = Field(default=1.0, ge=0)
    geometry: float = Field(default=1.0, ge=0)
    color: float = Field(default=1.0, ge=0)
    cutout: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _does_something(self) -> Config:
        if not (self.blit or self.geometry or self.color or self.cutout):
            raise ValueError("blit: 0 is not allowed while geometry, color and cutout are 0 too; nothing would change")
        return self


class Augmentation:
    """“Training generative adversarial networks with limited data”, Karras et al. 2020b, sections 2 and 3.

    The heuristic is r = E[sign D(real)]: every `interval` steps p moves up where r is above the target
    and down where it is below, by examples / `examples`; it stays at 0 or above. p lives in
    `State.tensors`, equal on every rank. At p = 0 images pass untouched, bit for bit.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def state(self) -> dict[str, Tensor]:
        """p, and signs added up since it last moved; nothing where p is set by hand."""
        if self.config.p is not None:
            return {}
        return {
            P: torch.zeros(()),
            SUM: torch.zeros(()),
            COUNT: torch.zeros((), dtype=torch.int64),
            SEEN: torch.zeros((), dtype=torch.int64),
        }

    def probability(self, state: State) -> float:
        """p at this point of the run."""
        if self.config.p is not None:
            return scheduled_value(self.config.p, state.examples_seen)
        return float(state.tensors[P])

    def __call__(self, x: Tensor, state: State, generator: torch.Generator) -> Tensor:
        p, config = self.probability(state), self.config
        if p <= 0:
            return x
        count, height, width = x.shape[0], x.shape[2], x.shape[3]
        matrix = torch.eye(3).repeat(count, 1, 1)
        if config.blit:
            matrix = matrix @ _affine.blits(count, (height, width), p * config.blit, generator)
        if config.geometry:
            matrix = matrix @ _affine.warps(count, (height, width), p * config.geometry, generator)
        if config.blit or config.geometry:
            x = _affine.warp(x, matrix)
        if config.color:
            x = _affine.recolour(x, _affine.colours(count, p * config.color, generator))
        return _affine.cut(x, p * config.cutout, generator) if config.cutout else x

    def after_step(self, state: State, sign: float | None) -> None:
        """Count a step's mean sign of D at reals; move p where it is time."""
        if self.config.p is not None or sign is None:
            return
        tensors = state.tensors
        tensors[SUM] += sign
        tensors[COUNT] += 1
        if int(tensors[COUNT]) < self.config.interval:
            return
        mean = float(tensors[SUM]) / int(tensors[COUNT])
        step = (state.examples_seen - int(tensors[SEEN])) / self.config.examples
        direction = (mean > self.config.target) - (mean < self.config.target)
        tensors[P].add_(direction * step).clamp_(min=0)
        tensors[SUM].zero_()
        tensors[COUNT].zero_()
        tensors[SEEN].fill_(state.examples_seen)
