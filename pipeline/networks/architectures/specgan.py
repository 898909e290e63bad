"""SpecGAN, Donahue et al. 2019: WaveGAN's networks in two dimensions, on spectrograms; sound by Griffin and Lim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.conv import SameConv, SameTransposed
from pipeline.networks.layers.init import glorot
from pipeline.networks.layers.stft import griffin_lim

SLOPE = 0.2
STILL = 1e-6
"""Frequencies that spread by less are always at their mean."""


@dataclass(frozen=True, slots=True)
class SpecPlan:
    """base: frames and frequencies of the smallest map; levels: doublings from there; width: maps of the largest."""

    base: tuple[int, int]
    levels: int
    channels: int
    width: int = 64
    kernel: int = 5
    stride: int = 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Maps at each size, from the smallest up."""
        return tuple(self.width * 2**level for level in reversed(range(self.levels)))


@dataclass(frozen=True, slots=True)
class Analysis:
    """How spectrograms were made of sound, as the transform `spectrogram` names it.

    before: samples that were put in front of the sound. samples: of the sound itself.
    """

    hop: int
    nyquist: bool
    floor: float
    before: int
    samples: int


class Scale(nn.Module):
    """Log-magnitudes (n, C, F, T) ↔ what the networks see (n, C, T, F) in [−1, 1] (Donahue et al. 2019, section 4).

    Each frequency has mean 0 and variance 1 over the training data, is divided by `clip` and cut to [−1, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], shape: tuple[int, int], clip: float) -> None:
        super().__init__()
        self.clip = clip
        spread = torch.tensor(std, dtype=torch.float32)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(*shape, 1))
        self.register_buffer("std", torch.where(spread > STILL, spread, torch.ones_like(spread)).view(*shape, 1))

    def seen(self, spectrograms: Tensor) -> Tensor:
        """As the networks see them."""
        scaled = (spectrograms - self.mean) / (self.std * self.clip)
        return scaled.clamp(-1, 1).transpose(-1, -2)

    def stored(self, seen: Tensor) -> Tensor:
        """The inverse, but for what was cut."""
        return seen.transpose(-1, -2) * (self.std * self.clip) + self.mean


class SpecGenerator(nn.Module):
    """Noise (n, inputs) → normalised log-magnitudes (n, C, T, F) in [−1, 1] (Donahue et al. 2019, table 5).

    The dense layer's units are ordered by place and then by map, as in the authors' code.
    """

    def __init__(self, plan: SpecPlan, inputs: int, scale: Scale, analysis: Analysis) -> None:
        super().__init__()
        self.base, widths = plan.base, plan.widths
        self.first = nn.Linear(inputs, plan.base[0] * plan.base[1] * widths[0])
        self.levels = nn.ModuleList(
            SameTransposed(before, after, plan.kernel, plan.stride)
            for before, after in zip(widths, (*widths[1:], plan.channels), strict=True)
        )
        self.scale, self.analysis = scale, analysis
        glorot(self)

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z).view(len(z), *self.base, -1).permute(0, 3, 1, 2)
        for level in self.levels:
            x = level(F.relu(x))
        return torch.tanh(x)

    def sound(self, seen: Tensor, iterations: int) -> Tensor:
        """What `forward` gave → sound (n, C, samples) in [−1, 1], its phases by Griffin and Lim."""
        analysis = self.analysis
        magnitudes = (self.scale.stored(seen).exp() - analysis.floor).clamp(min=0)
        if not analysis.nyquist:
            magnitudes = F.pad(magnitudes, (0, 0, 0, 1))
        x = griffin_lim(magnitudes.double(), analysis.hop, iterations).float()[..., analysis.before :][
            ..., : analysis.samples
        ]
        return F.pad(x, (0, analysis.samples - x.shape[-1])).clamp(-1, 1)


class SpecCritic(nn.Module):
    """Normalised log-magnitudes (n, C, T, F) → scores (n,); leaky relu 0.2, no norm (Donahue et al. 2019, table 6)."""

    def __init__(self, plan: SpecPlan, scale: Scale) -> None:
        super().__init__()
        widths = plan.widths[::-1]
        self.levels = nn.ModuleList(
            SameConv(before, after, plan.kernel, plan.stride)
            for before, after in zip((plan.channels, *widths), widths, strict=False)
        )
        self.score = nn.Linear(widths[-1] * plan.base[0] * plan.base[1], 1)
        self.scale = scale
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        for level in self.levels:
            x = F.leaky_relu(level(x), SLOPE)
        return self.score(x.permute(0, 2, 3, 1).flatten(1)).flatten()
