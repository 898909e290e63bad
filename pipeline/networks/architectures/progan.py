"""ProGAN, Karras et al. 2018: a generator and a discriminator with one block and one image head a resolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.growing import Detail, GrownPlan, fade_in
from pipeline.networks.layers.embedding import one_hot
from pipeline.networks.layers.equalized_lr import HE_GAIN, EqualisedConv, EqualisedLinear, add_bias, leaky
from pipeline.networks.layers.minibatch import MinibatchDeviation, MinibatchDiscrimination, MinibatchName
from pipeline.networks.layers.norm import pixel_norm
from pipeline.networks.layers.resample import Blur, mean_pool, shrink, upsample_nearest


class DenseBase(nn.Module):
    """(n, inputs) → (n, maps, *base), gain √2/4, one bias per map."""

    def __init__(self, inputs: int, maps: int, base: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (maps, *base)
        self.weight = nn.Parameter(torch.randn(maps * base[0] * base[1], inputs))
        self.bias = nn.Parameter(torch.zeros(maps))
        self.scale = HE_GAIN / 4 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return add_bias(F.linear(x, self.weight * self.scale).view(-1, *self.shape), self.bias)


class GrownLevel(nn.Module):
    """The layers of one resolution and its image head, a linear 1×1.

    Doubling is by repetition and a 3×3 correlation. (Weights of a reference that fuses the two into a transposed
    convolution are the same turned by 180°.)
    """

    def __init__(self, plan: GrownPlan, level: int, inputs: int) -> None:
        super().__init__()
        maps = plan.maps(level + 1)
        first = EqualisedConv(plan.maps(level), maps, 3, HE_GAIN) if level else DenseBase(inputs, maps, plan.base)
        self.first = first
        self.second = EqualisedConv(maps, maps, 3, HE_GAIN)
        self.to_image = EqualisedConv(maps, plan.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = upsample_nearest(x) if isinstance(self.first, EqualisedConv) else pixel_norm(x)
        x = pixel_norm(leaky(self.first(x)))
        return pixel_norm(leaky(self.second(x)))


class GrownGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W), unbounded, at every lod of full size.

    Karras et al. 2018, table 2. One-hot labels stand beside the noise, and pixel norm is over both.
    """

    def __init__(self, plan: GrownPlan, latent: int, classes: int) -> None:
        super().__init__()
        self.plan = plan
        self.classes = classes
        self.levels = nn.ModuleList(GrownLevel(plan, level, latent + classes) for level in range(plan.levels + 1))
        self.detail = Detail()

    def forward(self, z: Tensor, label: Tensor | None = None, lod: float | None = None) -> Tensor:
        x = torch.cat([z, one_hot(label, self.classes)], dim=1) if self.classes and label is not None else z
        return paint(self.levels, self.plan, x, self.detail.get() if lod is None else lod)


def paint(levels: nn.ModuleList, plan: GrownPlan, x: Tensor, lod: float) -> Tensor:
    """The image of the levels in use: the top one's, lerped with the one below while it fades in."""
    top, fade = plan.top(lod)
    below = x
    for index in range(top + 1):
        below, x = x, levels[index](x)
    return fade_in(levels, below, x, top, fade, plan.levels)


class DiscriminatorLevel(nn.Module):
    """(n, maps, h, w) → (n, maps below, h/2, w/2), and the head that reads an image at this resolution.

    The halving is the mean of 2×2 outputs, before bias and activation, as the references' fused layer
    computes it; `blur` is StyleGAN's [1, 2, 1] before it.
    """

    def __init__(self, plan: GrownPlan, level: int, blur: bool) -> None:
        super().__init__()
        maps = plan.maps(level + 1)
        self.from_image = EqualisedConv(plan.channels, maps, 1, HE_GAIN)
        self.first = EqualisedConv(maps, maps, 3, HE_GAIN)
        self.second = EqualisedConv(maps, plan.maps(level), 3, HE_GAIN)
        self.blur = Blur((1.0, 2.0, 1.0), 1, 1) if blur else nn.Identity()

    def read(self, image: Tensor) -> Tensor:
        return leaky(self.from_image(image))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blur(leaky(self.first(x)))
        return leaky(add_bias(mean_pool(F.conv2d(x, self.second.scaled, padding=1)), self.second.bias))


class DiscriminatorBase(nn.Module):
    """(n, maps, base) → (n, outputs): batch statistics, 3×3, two dense layers; and its own image head."""

    def __init__(self, plan: GrownPlan, outputs: int, minibatch: MinibatchName, group: int) -> None:
        super().__init__()
        maps, hidden, (height, width) = plan.maps(1), plan.maps(0), plan.base
        self.from_image = EqualisedConv(plan.channels, maps, 1, HE_GAIN)
        self.deviation = MinibatchDeviation(group) if minibatch == "deviation" else None
        self.conv = EqualisedConv(maps + (self.deviation is not None), maps, 3, HE_GAIN)
        self.dense = EqualisedLinear(maps * height * width, hidden, HE_GAIN)
        self.distances = MinibatchDiscrimination(hidden) if minibatch == "discrimination" else None
        self.out = EqualisedLinear(hidden + (self.distances.outputs if self.distances else 0), outputs)

    def read(self, image: Tensor) -> Tensor:
        return leaky(self.from_image(image))

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(self.conv(x if self.deviation is None else self.deviation(x)))
        x = leaky(self.dense(x.flatten(1)))
        return self.out(x if self.distances is None else self.distances(x))


class GrownDiscriminator(nn.Module):
    """x (n, C, H, W) at full size → (n, outputs), read by the head of the level that is in use.

    While a level fades in, its features are lerped with what the head below reads from the halved image.
    """

    def __init__(
        self, plan: GrownPlan, outputs: int, minibatch: MinibatchName = "deviation", group: int = 4, blur: bool = False
    ) -> None:
        super().__init__()
        self.plan = plan
        # From the finest down, as the references create their variables.
        levels: list[nn.Module] = [DiscriminatorLevel(plan, level, blur) for level in range(plan.levels, 0, -1)]
        self.levels = nn.ModuleList([*levels, DiscriminatorBase(plan, outputs, minibatch, group)])

    def forward(self, x: Tensor, lod: float = 0.0) -> Tensor:
        count = self.plan.levels
        top, fade = self.plan.top(lod)
        image = shrink(x, count - top)
        start = count - top
        x = self.levels[start].read(image)  # pyright: ignore[reportCallIssue]
        for index in range(start, count + 1):
            x = self.levels[index](x)
            if index == start and fade and top:
                coarse: Tensor = self.levels[index + 1].read(mean_pool(image))  # pyright: ignore[reportCallIssue]
                x = x.lerp(coarse, fade)
        return x
