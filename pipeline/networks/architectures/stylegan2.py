"""StyleGAN2, Karras et al. 2020: a synthesis of modulated convolutions with skips, a residual or plain D."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.networks.layers.embedding import one_hot
from pipeline.networks.layers.equalized_lr import EqualisedConv, EqualisedLinear, add_bias, clamped, leaky_unit
from pipeline.networks.layers.minibatch import MinibatchDeviation, MinibatchDiscrimination, MinibatchName
from pipeline.networks.layers.modulated_conv import FILTER, StyledConv, ToImage
from pipeline.networks.layers.noise import Noise
from pipeline.networks.layers.norm import pixel_norm
from pipeline.networks.layers.resample import DownConvolution, FilteredDownsample, FilteredUpsample


class MappingNetwork(nn.Module):
    """StyleGAN2's: z (n, latent) and label (n,) → w (n, width).

    z and the label's embedding are each normalised to second moment 1, joined, and pass `layers`
    dense layers of learning rate `rate`. With latent 0 the label alone is mapped (the discriminator's).
    """

    def __init__(self, latent: int, classes: int, width: int, layers: int = 8, rate: float = 0.01) -> None:
        super().__init__()
        self.latent = latent
        self.classes = classes
        self.embed = EqualisedLinear(classes, width) if classes else None
        inputs = latent + (width if classes else 0)
        self.layers = nn.ModuleList(
            EqualisedLinear(width if index else inputs, width, rate=rate) for index in range(layers)
        )

    def forward(self, z: Tensor | None, label: Tensor | None = None) -> Tensor:
        parts = [] if z is None else [pixel_norm(z)]
        if self.embed is not None:
            if label is None:
                raise ValueError("a conditional mapping needs labels")
            parts.append(pixel_norm(self.embed(one_hot(label, self.classes))))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = leaky_unit(layer(x))
        return x


HALVES = (1.0, 2.0, 1.0)  # becomes [1, 3, 3, 1]


@dataclass(frozen=True, slots=True)
class StylePlan:
    """Maps by level, level 0 at `base`: min(width // (4·2^level), max_width), as at 4, 8, 16 … pixels.

    clamp: activations are cut at ±clamp·gain.
    """

    base: tuple[int, int]
    levels: int
    channels: int
    width: int = 32768
    max_width: int = 512
    clamp: float | None = 256.0

    def maps(self, level: int) -> int:
        return max(1, min(self.width // (4 * 2**level), self.max_width))

    def size(self, level: int) -> tuple[int, int]:
        return self.base[0] * 2**level, self.base[1] * 2**level


class SynthesisBlock(nn.Module):
    """One resolution: at level 0 a learned constant and one layer, above two layers of which the first doubles."""

    def __init__(self, plan: StylePlan, level: int, latent: int) -> None:
        super().__init__()
        maps, size = plan.maps(level), plan.size(level)
        self.const = nn.Parameter(torch.randn(maps, *size)) if level == 0 else None
        self.conv0 = StyledConv(plan.maps(level - 1), maps, latent, size, True, plan.clamp) if level else None
        self.conv1 = StyledConv(maps, maps, latent, size, False, plan.clamp)
        self.torgb = ToImage(maps, plan.channels, latent, plan.clamp)
        self.upsample = FilteredUpsample(HALVES) if level else None

    def forward(self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Features, image so far and this block's ws (n, 2 or 3, latent) → both at this resolution."""
        used = 0
        if self.const is not None:
            x = self.const.expand(ws.shape[0], -1, -1, -1)
        if self.conv0 is not None:
            x, used = self.conv0(x, ws[:, 0], noise), 1
        x = self.conv1(x, ws[:, used], noise)
        assert x is not None
        y = self.torgb(x, ws[:, used + 1])
        return x, y if self.upsample is None or image is None else self.upsample(image) + y


class StyleSynthesis(nn.Module):
    """ws (n, layers, latent) → images (n, channels, base·2^levels), unbounded; layers = 2·levels + 2.

    The last w of a block's image head is the first of the next block's layers (18 at 1024 px).
    """

    def __init__(self, plan: StylePlan, latent: int) -> None:
        super().__init__()
        self.layers = 2 * plan.levels + 2
        self.blocks = nn.ModuleList(SynthesisBlock(plan, level, latent) for level in range(plan.levels + 1))

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        x: Tensor | None = None
        image: Tensor | None = None
        start = 0
        for block in self.blocks:
            x, image = block(x, image, ws[:, start:], noise)
            start += 2 if start else 1
        assert image is not None
        return image


class DownsamplingConv(EqualisedConv):
    """An equalised convolution, halving where `down`, with bias and leaky relu where `active`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, down: bool, clamp: float | None) -> None:
        super().__init__(inputs, outputs, kernel)
        self.down = DownConvolution(FILTER, kernel) if down else None
        self.clamp = clamp

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        x = super().forward(x) if self.down is None else add_bias(self.down(x, self.scaled), self.bias)
        return leaky_unit(x, gain, self.clamp)


class StyleDiscriminatorBlock(nn.Module):
    """(n, maps, h, w) → (n, maps below, h/2, w/2); both branches times √½ where residual."""

    def __init__(self, plan: StylePlan, level: int, residual: bool) -> None:
        super().__init__()
        maps, below, clamp = plan.maps(level), plan.maps(level - 1), plan.clamp
        self.fromrgb = DownsamplingConv(plan.channels, maps, 1, False, clamp) if level == plan.levels else None
        self.conv0 = DownsamplingConv(maps, maps, 3, False, clamp)
        self.conv1 = DownsamplingConv(maps, below, 3, True, clamp)
        self.skip = EqualisedConv(maps, below, 1, bias=False) if residual else None
        self.downsample = FilteredDownsample(HALVES) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        if self.skip is None or self.downsample is None:
            return self.conv1(self.conv0(x))
        half = math.sqrt(0.5)
        y = clamped(self.skip(self.downsample(x)) * half, half, self.conv1.clamp)
        return y + self.conv1(self.conv0(x), half)


@dataclass(frozen=True, slots=True)
class StyleDiscriminatorPlan:
    """The discriminator beside its widths: labels, what it sees of the batch, how many layers map the label."""

    widths: StylePlan
    classes: int = 0
    architecture: Literal["resnet", "orig"] = "resnet"
    minibatch: MinibatchName = "deviation"
    group: int = 4
    mapping_layers: int = 8


class DiscriminatorEpilogue(nn.Module):
    """(n, maps, base) → (n, outputs): batch statistics, 3×3, two dense layers."""

    def __init__(self, plan: StyleDiscriminatorPlan, outputs: int) -> None:
        super().__init__()
        maps, (height, width) = plan.widths.maps(0), plan.widths.base
        self.deviation = MinibatchDeviation(plan.group) if plan.minibatch == "deviation" else None
        self.conv = DownsamplingConv(maps + (self.deviation is not None), maps, 3, False, plan.widths.clamp)
        self.fc = EqualisedLinear(maps * height * width, maps)
        self.distances = MinibatchDiscrimination(maps) if plan.minibatch == "discrimination" else None
        self.out = EqualisedLinear(maps + (self.distances.outputs if self.distances else 0), outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x if self.deviation is None else self.deviation(x))
        x = leaky_unit(self.fc(x.flatten(1)))
        return self.out(x if self.distances is None else self.distances(x))


class StyleDiscriminator(nn.Module):
    """x (n, C, H, W) and label (n,) → logits (n,); with labels ⟨features, mapped label⟩/√maps.

    Karras et al. 2020, section 4.1; the projection on a mapped label is that of StyleGAN2-ADA.
    """

    def __init__(self, plan: StyleDiscriminatorPlan) -> None:
        super().__init__()
        widths, maps = plan.widths, plan.widths.maps(0)
        residual = plan.architecture == "resnet"
        self.blocks = nn.Sequential(
            *(StyleDiscriminatorBlock(widths, level, residual) for level in reversed(range(1, widths.levels + 1)))
        )
        self.mapping = MappingNetwork(0, plan.classes, maps, plan.mapping_layers) if plan.classes else None
        self.epilogue = DiscriminatorEpilogue(plan, maps if plan.classes else 1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.epilogue(self.blocks(x))
        if self.mapping is None:
            return x.flatten()
        return (x * self.mapping(None, label)).sum(dim=1) / math.sqrt(x.shape[1])
