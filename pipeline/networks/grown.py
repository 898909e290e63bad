"""Networks that grow: one block and one image head a resolution, of which the first few are in use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.equalised import HE_GAIN, EqualisedConv, EqualisedLinear, add_bias, leaky, pixel_norm
from pipeline.networks.fir import Blur
from pipeline.networks.layers import mean_pool, upsample_nearest
from pipeline.networks.mapping import class_weights
from pipeline.networks.minibatch import MinibatchDeviation, MinibatchDiscrimination, MinibatchName

UNIT = 2**20


@dataclass(frozen=True, slots=True)
class GrownPlan:
    """Maps by stage: min(width // 2^stage, max_width); level k, base·2^k pixels, has those of stage k + 1.

    lod, the level of detail, runs from `levels` (the base alone) to 0 (all levels); a fraction is a fade.
    """

    base: tuple[int, int]
    levels: int
    channels: int
    width: int = 8192
    max_width: int = 512

    def maps(self, stage: int) -> int:
        return max(1, min(self.width // 2**stage, self.max_width))

    def size(self, level: int) -> tuple[int, int]:
        return self.base[0] * 2**level, self.base[1] * 2**level

    def top(self, lod: float) -> tuple[int, float]:
        """The highest level in use, and how much of it is still the level below (0 = faded in)."""
        whole = min(math.floor(lod), self.levels)
        return self.levels - whole, min(lod, self.levels) - whole


def enlarge(x: Tensor, levels: int) -> Tensor:
    """Every position 2^levels times along each axis."""
    return F.interpolate(x, scale_factor=float(2**levels), mode="nearest") if levels else x


def shrink(x: Tensor, levels: int) -> Tensor:
    """The mean of each cell of 2^levels squared."""
    return F.avg_pool2d(x, 2**levels) if levels else x


def at_detail(x: Tensor, plan: GrownPlan, lod: float) -> Tensor:
    """Images (n, c, H, W) as a generator at this lod could make them: averaged, faded, enlarged again.

    ProGAN fades its reals as it fades its fakes: x lerped with its own 2×2 averages.
    """
    top, fade = plan.top(lod)
    fine = shrink(x, plan.levels - top)
    if fade:
        fine = fine.lerp(upsample_nearest(mean_pool(fine)), fade)
    return enlarge(fine, plan.levels - top)


class Detail(nn.Module):
    """The level of detail that a network is sampled at, as an integer buffer so that averages copy it.

    Training sets it after each step; a network that was never trained stands at 0: fully grown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count: Tensor
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def set(self, lod: float) -> None:
        self.count.fill_(round(lod * UNIT))

    def get(self) -> float:
        # Shapes are the same at every lod.
        return 0.0 if self.count.is_meta else int(self.count) / UNIT


# --- ProGAN's generator -----------------------------------------------------------------------


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
        x = torch.cat([z, class_weights(label, self.classes)], dim=1) if self.classes and label is not None else z
        return paint(self.levels, self.plan, x, self.detail.get() if lod is None else lod)


def paint(levels: nn.ModuleList, plan: GrownPlan, x: Tensor, lod: float) -> Tensor:
    """The image of the levels in use: the top one's, lerped with the one below while it fades in."""
    top, fade = plan.top(lod)
    below = x
    for index in range(top + 1):
        below, x = x, levels[index](x)
    return fade_in(levels, below, x, top, fade, plan.levels)


def fade_in(levels: nn.ModuleList, below: Tensor, x: Tensor, top: int, fade: float, count: int) -> Tensor:
    """Image heads of the top level's features `x` and of those below it, blended and enlarged to full size."""
    image: Tensor = levels[top].to_image(x)  # pyright: ignore[reportCallIssue]
    if fade and top:
        coarse: Tensor = levels[top - 1].to_image(below)  # pyright: ignore[reportCallIssue]
        image = image.lerp(upsample_nearest(coarse), fade)
    return enlarge(image, count - top)


# --- the critic of ProGAN and StyleGAN --------------------------------------------------------


class CriticLevel(nn.Module):
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


class CriticBase(nn.Module):
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


class GrownCritic(nn.Module):
    """x (n, C, H, W) at full size → (n, outputs), read by the head of the level that is in use.

    While a level fades in, its features are lerped with what the head below reads from the halved image.
    """

    def __init__(
        self, plan: GrownPlan, outputs: int, minibatch: MinibatchName = "deviation", group: int = 4, blur: bool = False
    ) -> None:
        super().__init__()
        self.plan = plan
        # From the finest down, as the references create their variables.
        levels: list[nn.Module] = [CriticLevel(plan, level, blur) for level in range(plan.levels, 0, -1)]
        self.levels = nn.ModuleList([*levels, CriticBase(plan, outputs, minibatch, group)])

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
