"""StackGAN, Zhang et al. 2017: a sketch from text, then a picture from both, as published and as ported.

`port` is the networks of the authors' PyTorch port, which are not the paper's: no bottlenecks, other activations, and
discriminators that see the condition's mean and, in stage II, the image alone as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.architectures.text_to_image import SLOPE, BottleneckOfThree
from pipeline.networks.layers.resample import upsample_nearest

BOTTLENECKS = 2
LARGER = 2  # doublings of stage II: four times the side of stage I


@dataclass(frozen=True, slots=True)
class StackedPlan:
    """What all four networks are built from.

    base: the smallest map (height, width). levels: doublings from it to stage I's image. channels: of the images.
    text, condition: numbers of a text's vector, and of the condition drawn of it. noise: of z. blocks: residual blocks
    of stage II. port: the authors' PyTorch networks.
    """

    base: tuple[int, int]
    levels: int
    channels: int
    text: int
    condition: int
    noise: int
    generator_width: int
    discriminator_width: int
    blocks: int
    port: bool

    def widths(self, outermost: int) -> tuple[int, ...]:
        """Maps at each resolution below stage I's, from the smallest up."""
        return tuple(outermost * 2**level for level in reversed(range(self.levels)))


class Conditioning(nn.Module):
    """Text (n, text) → mean and log σ (n, condition) each: one layer, leaky relu 0.2 as published, relu in the port.

    The port's second half is log σ²: here it is halved.
    """

    def __init__(self, plan: StackedPlan) -> None:
        super().__init__()
        self.port = plan.port
        self.linear = nn.Linear(plan.text, 2 * plan.condition)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = F.leaky_relu(self.linear(text), 0.0 if self.port else SLOPE).chunk(2, dim=1)
        return mean, spread / 2 if self.port else spread


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """Of the same size, without a bias."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def upward(widths: tuple[int, ...]) -> nn.ModuleList:
    """3×3 convolutions from each width to the next, a batch norm behind each."""
    return nn.ModuleList(
        nn.Sequential(conv(before, width), nn.BatchNorm2d(width)) for before, width in pairwise(widths)
    )


class SketchGenerator(nn.Module):
    """Stage I: z (n, noise) and a condition (n, condition) → (n, channels, base·2^levels) in [−1, 1].

    `conditioning` gives the condition's mean and log σ of a text.
    """

    def __init__(self, plan: StackedPlan) -> None:
        super().__init__()
        self.port = plan.port
        widths = plan.widths(plan.generator_width)
        self.conditioning = Conditioning(plan)
        self.shape = (widths[0], *plan.base)
        units = math.prod(self.shape)
        self.dense = nn.Linear(plan.noise + plan.condition, units, bias=not plan.port)
        self.norm = nn.BatchNorm1d(units)
        # The port doubles once more before its last convolution, to half as many maps as the paper has there.
        self.doublings = upward((*widths, max(1, widths[-1] // 2)) if plan.port else widths)
        count = 0 if plan.port else BOTTLENECKS
        self.bottlenecks = nn.ModuleList(BottleneckOfThree(width, 0.0) for width in widths[:count])
        self.output = conv(max(1, widths[-1] // 2) if plan.port else widths[-1], plan.channels)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        joined = [z, condition] if self.port else [condition, z]
        x = self.norm(self.dense(torch.cat(joined, dim=1))).view(-1, *self.shape)
        x = self.bottlenecks[0](x) if len(self.bottlenecks) else F.relu(x)
        for level, double in enumerate(self.doublings, 1):
            x = double(upsample_nearest(x))
            x = self.bottlenecks[level](x) if level < len(self.bottlenecks) else F.relu(x)
        return torch.tanh(self.output(x if self.port else upsample_nearest(x)))


class PlainBlock(nn.Module):
    """relu(x + f(x)), f: 3×3, batch norm, relu, 3×3, batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(channels, channels), conv(channels, channels)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class PictureGenerator(nn.Module):
    """Stage II: a sketch (n, channels, h, w) and a condition (n, condition) → (n, channels, 4h, 4w) in [−1, 1].

    begun: whether it has been trained at all; a whole number, published with the weights.
    """

    begun: Tensor

    def __init__(self, plan: StackedPlan) -> None:
        super().__init__()
        width = plan.generator_width
        self.conditioning = Conditioning(plan)
        self.opening = conv(plan.channels, width)
        self.halvings = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after))
            for before, after in ((width, 2 * width), (2 * width, 4 * width))
        )
        self.joint = nn.Sequential(conv(4 * width + plan.condition, 4 * width), nn.BatchNorm2d(4 * width))
        self.blocks = nn.ModuleList(PlainBlock(4 * width) for _ in range(plan.blocks))
        ends = (4 * width, 2 * width, width, max(1, width // 2), max(1, width // 4))
        self.doublings = upward(ends)
        self.output = conv(ends[-1], plan.channels)
        self.register_buffer("begun", torch.zeros((), dtype=torch.int64))

    def forward(self, sketch: Tensor, condition: Tensor) -> Tensor:
        x = F.relu(self.opening(sketch))
        for halve in self.halvings:
            x = F.relu(halve(x))
        tiled = condition[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = F.relu(self.joint(torch.cat([x, tiled], dim=1)))
        for block in self.blocks:
            x = block(x)
        for double in self.doublings:
            x = F.relu(double(upsample_nearest(x)))
        return torch.tanh(self.output(x))


class StackedDiscriminator(nn.Module):
    """Images (n, channels, H, W) and a text (n, text), or in the port a condition's mean → logits (n,).

    halvings: of the image, so many that the smallest map is the base. alone: gives, beside these, logits of the image
    without a text: (2, n).
    """

    def __init__(self, plan: StackedPlan, halvings: int, alone: bool = False) -> None:
        super().__init__()
        width = plan.discriminator_width
        self.port = plan.port
        widths = tuple(width * 2**level for level in range(halvings))
        last = width * 2 ** (plan.levels - 1)
        self.halvings = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1, bias=False) for before, after in pairwise((plan.channels, *widths))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(each) for each in widths[1:])
        self.stage_one = halvings == plan.levels
        narrowing = () if self.stage_one else (widths[-1], 2 * last, last)
        self.narrowings = nn.ModuleList(
            nn.Sequential(conv(before, after, 3 if plan.port else 1), nn.BatchNorm2d(after))
            for before, after in pairwise(narrowing)
        )
        self.block = nn.Identity() if plan.port else BottleneckOfThree(last, SLOPE)
        self.project = nn.Identity() if plan.port else nn.Linear(plan.text, plan.condition)
        self.joint = conv(last + plan.condition, last, 3 if plan.port else 1)
        self.joint_norm = nn.BatchNorm2d(last)
        self.head = nn.Conv2d(last, 1, plan.base, bias=plan.port)
        self.alone = nn.Conv2d(last, 1, plan.base) if alone else None

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        features = self._features(x)
        code = text if self.port else F.leaky_relu(self.project(text), SLOPE)
        tiled = code[:, :, None, None].expand(-1, -1, *features.shape[2:])
        joint = F.leaky_relu(self.joint_norm(self.joint(torch.cat([features, tiled], dim=1))), SLOPE)
        logits = self.head(joint).flatten()
        return logits if self.alone is None else torch.stack([logits, self.alone(features).flatten()])

    def _features(self, x: Tensor) -> Tensor:
        last = len(self.halvings) - 1
        for level, halve in enumerate(self.halvings):
            # As published, stage I has no activation before its last halving, but where that would join two layers.
            bare = self.stage_one and not self.port and level == last and level > 1
            x = halve(x if level == 0 or bare else F.leaky_relu(x, SLOPE))
            x = self.norms[level - 1](x) if level else x
        for narrow in self.narrowings:
            x = narrow(F.leaky_relu(x, SLOPE))
        return F.leaky_relu(x, SLOPE) if self.port else self.block(x)
