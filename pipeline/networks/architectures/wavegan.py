"""WaveGAN, Donahue et al. 2019: one-dimensional convolutions of 25 and stride 4, and the phase shuffle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.conv import SameConv, SameTransposed
from pipeline.networks.layers.init import glorot

SLOPE = 0.2


SHUFFLED = 4
"""Levels of the critic behind which phases are shuffled, the last level left out."""


@dataclass(frozen=True, slots=True)
class WavePlan:
    """length: samples of the shortest map; levels: quadruplings from there; width: maps next to the sound.

    filtered: taps of the post-processing filter; 0 = none. shuffle: largest shift of a phase.
    """

    length: int
    levels: int
    channels: int
    width: int = 64
    kernel: int = 25
    stride: int = 4
    filtered: int = 0
    shuffle: int = 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Maps at each length, from the shortest up."""
        return tuple(self.width * 2**level for level in reversed(range(self.levels)))


class WaveGenerator(nn.Module):
    """Noise (n, inputs) → sound (n, channels, length·stride^levels) in [−1, 1] (Donahue et al. 2019, table 3).

    The dense layer's units are ordered by place and then by map, as in the authors' code.
    """

    def __init__(self, plan: WavePlan, inputs: int) -> None:
        super().__init__()
        self.length = plan.length
        widths = plan.widths
        self.first = nn.Linear(inputs, plan.length * widths[0])
        self.levels = nn.ModuleList(
            SameTransposed(before, after, plan.kernel, plan.stride, 1)
            for before, after in zip(widths, (*widths[1:], plan.channels), strict=True)
        )
        self.filter = SameConv(plan.channels, plan.channels, plan.filtered, 1, 1, False) if plan.filtered else None
        glorot(self)

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z).view(len(z), self.length, -1).transpose(1, 2)
        for level in self.levels:
            x = level(F.relu(x))
        x = torch.tanh(x)
        return x if self.filter is None else self.filter(x)


class WaveCritic(nn.Module):
    """Sound (n, channels, samples) → scores (n,); leaky relu 0.2, no norm (Donahue et al. 2019, table 4)."""

    def __init__(self, plan: WavePlan) -> None:
        super().__init__()
        widths = plan.widths[::-1]
        self.shuffle = plan.shuffle
        self.levels = nn.ModuleList(
            SameConv(before, after, plan.kernel, plan.stride, 1)
            for before, after in zip((plan.channels, *widths), widths, strict=False)
        )
        self.score = nn.Linear(widths[-1] * plan.length, 1)
        glorot(self)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Scores; phases are shuffled by draws of `generator`, and stay as they are without one."""
        shuffled = min(SHUFFLED, len(self.levels) - 1)
        for number, level in enumerate(self.levels):
            x = F.leaky_relu(level(x), SLOPE)
            if generator is not None and self.shuffle and number < shuffled:
                x = phase_shuffle(x, draw_shift(self.shuffle, generator))
        return self.score(x.transpose(1, 2).flatten(1)).flatten()


def draw_shift(radius: int, generator: torch.Generator) -> int:
    """A whole number from −radius to radius, each as likely."""
    return int(torch.randint(-radius, radius + 1, (), generator=generator))


def phase_shuffle(x: Tensor, shift: int) -> Tensor:
    """Every sequence of x (n, c, t) moved by `shift` places, what comes in reflected at the edge: (n, c, t).

    Positive shifts move towards the end (Donahue et al. 2019, section 3.3).
    """
    length = x.shape[-1]
    if shift == 0:
        return x
    padded = F.pad(x, (max(shift, 0), max(-shift, 0)), mode="reflect")
    return padded.narrow(-1, max(-shift, 0), length)


def quadruplings(length: int, stride: int, shortest: int) -> int:
    """How often `length` divides by `stride` without a remainder and stays at `shortest` or above."""
    levels = 0
    while length % stride ** (levels + 1) == 0 and length // stride ** (levels + 1) >= shortest:
        levels += 1
    return levels


def near_length(length: int, stride: int, levels: int) -> int:
    """The nearest length that `levels` levels can make."""
    unit = stride**levels
    return max(1, math.floor(length / unit + 0.5)) * unit
