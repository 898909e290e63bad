"""SRGAN, Ledig et al. 2017: SRResNet, which enlarges, and the discriminator that tells its images from photographs."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor, nn

from pipeline.networks.layers.init import kaiming

SLOPE = 0.2
DEEPEST = 8  # the most maps of the discriminator, over those of its first convolution


@dataclass(frozen=True, slots=True)
class EnlargerPlan:
    """inputs, outputs: channels of the two images; scale: a power of two; width: maps; blocks: residual ones."""

    inputs: int
    outputs: int
    scale: int = 4
    width: int = 64
    blocks: int = 16

    @property
    def doublings(self) -> int:
        return int(log2(self.scale))


class SrResNet(nn.Module):
    """x (n, inputs, h, w) → (n, outputs, scale·h, scale·w), not cut to a range, of any size (Ledig et al., figure 4).

    9×9 convolution and PReLU; residual blocks; 3×3 and batch norm, joined to what came before the blocks; for each
    doubling 3×3 to 4·width maps, pixel shuffle, PReLU; 9×9. Convolutions before a batch norm have no bias.
    """

    def __init__(self, plan: EnlargerPlan) -> None:
        super().__init__()
        width = plan.width
        self.first = nn.Sequential(nn.Conv2d(plan.inputs, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(plan.blocks)))
        self.join = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.doublings = nn.Sequential(*(_Doubling(width) for _ in range(plan.doublings)))
        self.last = nn.Conv2d(width, plan.outputs, 9, padding=4)
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(self.doublings(x + self.join(self.blocks(x))))


class _Residual(nn.Module):
    """x + B(W(prelu(B(W(x))))), of `width` maps each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class _Doubling(nn.Sequential):
    """(n, width, h, w) → (n, width, 2h, 2w)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())


class SrganDiscriminator(nn.Module):
    """x (n, channels, *sides) → logits (n,) (Ledig et al. 2017, figure 4).

    3×3 convolutions of strides 1, 2, 1, 2, … with 1, 1, 2, 2, 4, 4, 8, 8 times `width` maps, batch norm in all but the
    first, leaky relu 0.2; then 16·width units and one. Sides need not be multiples of 16.
    """

    def __init__(self, channels: int, sides: tuple[int, int], width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        before, (height, wide) = width, sides
        for level in (1, 2, 4, DEEPEST):
            for stride in (1, 2):
                if level == stride == 1:
                    continue
                after = level * width
                layers += [
                    nn.Conv2d(before, after, 3, stride, 1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.LeakyReLU(SLOPE),
                ]
                before = after
            height, wide = -(-height // 2), -(-wide // 2)
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(before * height * wide, 16 * width), nn.LeakyReLU(SLOPE), nn.Linear(16 * width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.features(x), 1)).squeeze(1)
