"""GAN-CLS and GAN-INT, Reed et al. 2016: a DCGAN with residual bottlenecks, and a projection of the text in each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
NARROWER = 4  # a bottleneck has so many times fewer maps
BOTTLENECKS = 2  # of the generator, behind its first two maps


@dataclass(frozen=True, slots=True)
class TextPlan:
    """What both networks are built from.

    base: the smallest map (height, width). levels: doublings from it to the image. channels: of the image.
    text, projected: numbers of a text's vector, and what each network makes of it. noise: of z.
    text_norm: batch norm of the discriminator's text. last_activation: whether a leaky relu stands before the
        discriminator's last strided convolution.
    """

    base: tuple[int, int]
    levels: int
    channels: int
    text: int
    projected: int
    noise: int
    generator_width: int
    discriminator_width: int
    text_norm: bool
    last_activation: bool

    def widths(self, outermost: int) -> tuple[int, ...]:
        """Maps at each resolution below the image's, from the smallest up."""
        return tuple(outermost * 2**level for level in reversed(range(self.levels)))


class BottleneckOfThree(nn.Module):
    """x + f(x), f: 1×1 to a quarter of the maps, 3×3, 3×3 back, batch norm behind each and `slope`'s relu between.

    The sum is activated too: (n, c, h, w) → the same.
    """

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        narrow = max(1, channels // NARROWER)
        self.conv1 = nn.Conv2d(channels, narrow, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, channels, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm1(self.conv1(x)), self.slope)
        y = F.leaky_relu(self.norm2(self.conv2(y)), self.slope)
        return F.leaky_relu(x + self.norm3(self.conv3(y)), self.slope)


class TextGenerator(nn.Module):
    """Noise (n, noise) and a text's vector (n, text) → (n, channels, H, W) in [−1, 1].

    The references' convolutions have a bias that is set to 0 before every use; these have none.
    """

    def __init__(self, plan: TextPlan) -> None:
        super().__init__()
        widths = plan.widths(plan.generator_width)
        self.project = nn.Linear(plan.text, plan.projected)
        self.first = nn.ConvTranspose2d(plan.noise + plan.projected, widths[0], plan.base, bias=False)
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(before, width, 4, 2, 1, bias=False) for before, width in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.blocks = nn.ModuleList(BottleneckOfThree(width, 0.0) for width in widths[:BOTTLENECKS])
        self.output = nn.ConvTranspose2d(widths[-1], plan.channels, 4, 2, 1, bias=False)

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        code = torch.cat([z, F.leaky_relu(self.project(text), SLOPE)], dim=1)
        x = self.norms[0](self.first(code[:, :, None, None]))
        for level, norm in enumerate(self.norms):
            if level:
                x = norm(self.doublings[level - 1](x))
            # A bottleneck's input is not activated, its sum is.
            x = self.blocks[level](x) if level < len(self.blocks) else F.relu(x)
        return torch.tanh(self.output(x))


class TextDiscriminator(nn.Module):
    """x (n, channels, H, W) and a text's vector (n, text) → logits (n,), seen beside the smallest map."""

    def __init__(self, plan: TextPlan) -> None:
        super().__init__()
        widths = plan.widths(plan.discriminator_width)[::-1]
        self.last_activation = plan.last_activation
        self.halvings = nn.ModuleList(
            nn.Conv2d(before, width, 4, 2, 1, bias=False) for before, width in pairwise((plan.channels, *widths))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.block = BottleneckOfThree(widths[-1], SLOPE)
        self.project = nn.Linear(plan.text, plan.projected)
        self.project_norm = nn.BatchNorm1d(plan.projected) if plan.text_norm else nn.Identity()
        self.joint = nn.Conv2d(widths[-1] + plan.projected, widths[-1], 1, bias=False)
        self.joint_norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Conv2d(widths[-1], 1, plan.base, bias=False)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        last = len(self.halvings) - 1
        for level, halve in enumerate(self.halvings):
            # The first has no norm: without an activation behind it, two convolutions would be one.
            if level == 1 or (level and (level < last or self.last_activation)):
                x = F.leaky_relu(x, SLOPE)
            x = halve(x) if level == 0 else self.norms[level - 1](halve(x))
        x = self.block(x)
        code = F.leaky_relu(self.project_norm(self.project(text)), SLOPE)
        tiled = code[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = F.leaky_relu(self.joint_norm(self.joint(torch.cat([x, tiled], dim=1))), SLOPE)
        return self.head(x).flatten()
