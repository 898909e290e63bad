"""Random flips of what the discriminator sees."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pipeline.augmentation._shared import chosen
from pipeline.contract import State
from pipeline.settings import Settings


class Config(Settings):
    """Half of the images are mirrored; upside down only where asked."""

    horizontal: float = Field(default=0.5, ge=0, le=1, description="probability of a mirror image")
    vertical: float = Field(default=0.0, ge=0, le=1, description="probability of upside down")


class Augmentation:
    """Mirrors each image of (n, c, h, w) by draws of its own.

    Where reals and fakes are both flipped, the generator need not learn which way data lie: with
    probability ½ its samples may come out mirrored (Karras et al. 2020b, section 2.2).
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def state(self) -> dict[str, Tensor]:
        return {}

    def __call__(self, x: Tensor, state: State, generator: torch.Generator) -> Tensor:
        for axis, probability in ((3, self.config.horizontal), (2, self.config.vertical)):
            flipped = chosen(x.shape[0], probability, generator).to(x.device)
            x = torch.where(flipped.view(-1, 1, 1, 1), x.flip(axis), x)
        return x

    def after_step(self, state: State, sign: float | None) -> None:
        """Nothing moves."""
