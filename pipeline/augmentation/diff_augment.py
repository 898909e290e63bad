"""DiffAugment: colour, translation and cutout on all that the discriminator sees (Zhao et al. 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from pipeline.contract import State
from pipeline.settings import Settings

Policy = Literal["color", "translation", "cutout"]


class Config(Settings):
    """The paper's policy for little data: all three, applied in the order listed."""

    policy: tuple[Policy, ...] = Field(default=("color", "translation", "cutout"), min_length=1)
    shift: float = Field(default=0.125, ge=0, le=1, description="largest translation, as a share of each side")
    hole: float = Field(default=0.5, gt=0, le=1, description="side of the cut square, as a share of the image's")

    @field_validator("policy")
    @classmethod
    def _once_each(cls, policy: tuple[Policy, ...]) -> tuple[Policy, ...]:
        if len(set(policy)) < len(policy):
            raise ValueError("names an augmentation twice; list each once")
        return policy


class Augmentation:
    """“Differentiable augmentation for data-efficient GAN training”, Zhao et al. 2020, section 3.2.

    color: brightness + U(−½, ½), then saturation × U(0, 2), then contrast × U(½, 3⁄2), each example by
    its own draws. translation: whole pixels within ±⅛ of the side, zeros come in. cutout: a square of
    half the side, centred anywhere, becomes 0. Every example is changed at every look.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def state(self) -> dict[str, Tensor]:
        return {}

    def __call__(self, x: Tensor, state: State, generator: torch.Generator) -> Tensor:
        changes = {"color": _color, "translation": self._translate, "cutout": self._cut}
        for name in self.config.policy:
            x = changes[name](x, generator)
        return x

    def after_step(self, state: State, sign: float | None) -> None:
        """Nothing moves."""

    def _translate(self, x: Tensor, generator: torch.Generator) -> Tensor:
        for axis in (2, 3):
            length = x.shape[axis]
            most = int(length * self.config.shift + 0.5)
            offsets = torch.randint(-most, most + 1, (x.shape[0], 1), generator=generator)
            index = torch.arange(length) - offsets
            inside = (index >= 0) & (index < length)
            shape = (-1, 1, length, 1) if axis == 2 else (-1, 1, 1, length)
            where = index.clamp(0, length - 1).view(shape).to(x.device).expand_as(x)
            x = x.gather(axis, where) * inside.view(shape).to(x)
        return x

    def _cut(self, x: Tensor, generator: torch.Generator) -> Tensor:
        outside: list[Tensor] = []
        for axis in (2, 3):
            length = x.shape[axis]
            side = int(length * self.config.hole + 0.5)
            # An even square may start half a side outside; an odd one has one centre fewer.
            centre = torch.randint(0, length + 1 - side % 2, (x.shape[0], 1), generator=generator)
            start = centre - side // 2
            index = torch.arange(length)
            outside.append((index < start) | (index >= start + side))
        kept = outside[0][:, :, None] | outside[1][:, None, :]
        return x * kept[:, None].to(x)


def _color(x: Tensor, generator: torch.Generator) -> Tensor:
    brightness, saturation, contrast = torch.rand((3, x.shape[0], 1, 1, 1), generator=generator).to(x)
    x = x + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    level = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - level) * (contrast + 0.5) + level
