"""StyleGAN, Karras et al. 2019: a learned constant, and after each layer noise, instance norm and a style (AdaIN)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.growing import Detail, GrownPlan, fade_in
from pipeline.networks.layers.embedding import one_hot
from pipeline.networks.layers.equalized_lr import HE_GAIN, EqualisedConv, EqualisedLinear, add_bias, leaky
from pipeline.networks.layers.noise import Noise, noise_map
from pipeline.networks.layers.norm import instance_norm, pixel_norm
from pipeline.networks.layers.resample import Blur, upsample_nearest

FUSED = 128
"""Shorter side, in pixels, from which the reference doubles in one step (`fused_scale: auto`)."""


def fused_doubling(x: Tensor, weight: Tensor) -> Tensor:
    """x (n, i, h, w) by weight (o, i, 3, 3) → (n, o, 2h, 2w): a 4×4 transposed convolution of stride 2.

    The 4×4 kernel is the sum of the 3×3 one at its four places, which is repetition and then a *true*
    convolution: that of `conv2d` with the weight turned by 180°.
    """
    wide = F.pad(weight.transpose(0, 1), (1, 1, 1, 1))
    kernel = wide[..., 1:, 1:] + wide[..., 1:, :-1] + wide[..., :-1, 1:] + wide[..., :-1, :-1]
    return F.conv_transpose2d(x, kernel, stride=2, padding=1)


class AdaptiveLayer(nn.Module):
    """x (n, maps, h, w) and w (n, latent): noise by a weight per map → bias → leaky → norm → x·(1 + s) + b.

    Karras et al. 2019, equation 1; noise weights start at 0. A layer that doubles does so by repetition,
    3×3 and blur [1, 2, 1]; from FUSED pixels on, as the reference, in one transposed convolution.
    """

    def __init__(self, inputs: int, maps: int, latent: int, size: tuple[int, int], up: bool = False) -> None:
        super().__init__()
        self.conv = EqualisedConv(inputs, maps, 3, HE_GAIN, bias=False) if inputs else None
        self.noise = NoiseAndBias(maps, size)
        self.style = EqualisedLinear(latent, 2 * maps)
        self.blur = Blur((1.0, 2.0, 1.0), 1, 1) if up else None
        self.fused = min(size) >= FUSED

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        if self.conv is not None:
            x = self.conv(x) if self.blur is None else self.blur(self._doubled(x, self.conv))
        x = instance_norm(leaky(self.noise(x, noise)))
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)
        return x * (scale + 1) + shift

    def _doubled(self, x: Tensor, conv: EqualisedConv) -> Tensor:
        return fused_doubling(x, conv.scaled) if self.fused else conv(upsample_nearest(x))


class NoiseAndBias(nn.Module):
    """Adds noise times a weight per map, then a bias per map."""

    def __init__(self, maps: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(maps))
        self.bias = nn.Parameter(torch.zeros(maps))
        self.noise_const: Tensor
        self.register_buffer("noise_const", torch.randn(1, 1, *size))

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        drawn = noise_map(noise, self.noise_const[0, 0], x.shape[0])
        if drawn is not None:
            x = x + drawn * self.weight.view(1, -1, 1, 1)
        return add_bias(x, self.bias)


class AdaptiveLevel(nn.Module):
    """The two styled layers of one resolution and its image head; level 0 starts from a constant of ones."""

    def __init__(self, plan: GrownPlan, level: int, latent: int) -> None:
        super().__init__()
        maps, size = plan.maps(level + 1), plan.size(level)
        self.const = nn.Parameter(torch.ones(1, maps, *size)) if level == 0 else None
        self.first = AdaptiveLayer(plan.maps(level) if level else 0, maps, latent, size, up=level > 0)
        self.second = AdaptiveLayer(maps, maps, latent, size)
        self.to_image = EqualisedConv(maps, plan.channels, 1)

    def forward(self, x: Tensor, ws: Tensor, noise: Noise) -> Tensor:
        """Features and this level's two ws (n, 2, latent) → features at this resolution."""
        if self.const is not None:
            x = self.const.expand(ws.shape[0], -1, -1, -1)
        return self.second(self.first(x, ws[:, 0], noise), ws[:, 1], noise)


class AdaptiveSynthesis(nn.Module):
    """ws (n, layers, latent) → images (n, C, H, W), unbounded; layers = 2·(levels + 1)."""

    def __init__(self, plan: GrownPlan, latent: int) -> None:
        super().__init__()
        self.plan = plan
        self.layers = 2 * (plan.levels + 1)
        self.levels = nn.ModuleList(AdaptiveLevel(plan, level, latent) for level in range(plan.levels + 1))
        self.detail = Detail()

    def forward(self, ws: Tensor, noise: Noise = "const", lod: float | None = None) -> Tensor:
        top, fade = self.plan.top(self.detail.get() if lod is None else lod)
        x = below = ws
        for index in range(top + 1):
            below, x = x, self.levels[index](x, ws[:, 2 * index : 2 * index + 2], noise)
        return fade_in(self.levels, below, x, top, fade, self.plan.levels)


class JoinedMappingNetwork(nn.Module):
    """StyleGAN's: z ⊕ row of a label matrix, pixel norm over both, dense layers: → w (n, width).

    The label matrix (classes, latent) starts as N(0, 1) and is not equalised.
    """

    def __init__(self, latent: int, classes: int, width: int, layers: int = 8, rate: float = 0.01) -> None:
        super().__init__()
        self.latent = latent
        self.classes = classes
        self.labels = nn.Parameter(torch.randn(classes, latent)) if classes else None
        inputs = 2 * latent if classes else latent
        self.layers = nn.ModuleList(
            EqualisedLinear(width if index else inputs, width, gain=HE_GAIN, rate=rate) for index in range(layers)
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.labels is not None:
            if label is None:
                raise ValueError("a conditional mapping needs labels")
            z = torch.cat([z, one_hot(label, self.classes) @ self.labels], dim=1)
        x = pixel_norm(z)
        for layer in self.layers:
            x = leaky(layer(x))
        return x
