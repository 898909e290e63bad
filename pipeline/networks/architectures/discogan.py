"""DiscoGAN, Kim et al. 2017: translators without skips, and discriminators that show what they see on the way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

SLOPE = 0.2
WIDEST = 8
BOTTLENECK = 100
LAST = 4  # side of the last convolution of a discriminator, and of those around a bottleneck


@dataclass(frozen=True, slots=True)
class DiscoPlan:
    """inputs, outputs: channels of the two images; width: maps of the first halving, doubled up to 8 times it.

    extra: two convolutions more around a code of 100 maps.
    """

    inputs: int
    outputs: int
    width: int = 64
    halvings: int = 4
    extra: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.width * min(2**level, WIDEST) for level in range(self.halvings))


class DiscoTranslator(nn.Module):
    """x (n, inputs, h, w) in [0, 1] → (n, outputs, h, w) in [0, 1] (Kim et al. 2017, section 3.3 and figure 2).

    Down: 4/2/1 convolutions, batch norm in all but the first, leaky relu 0.2. Up: 4/2/1 transposed ones, batch norm,
    relu; the last with a sigmoid alone. No biases.
    """

    def __init__(self, plan: DiscoPlan) -> None:
        super().__init__()
        widths = plan.widths
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(zip((plan.inputs, *widths), widths, strict=False)):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(after)] if number else []
            layers.append(nn.LeakyReLU(SLOPE))
        if plan.extra:
            layers += [
                nn.Conv2d(widths[-1], BOTTLENECK, LAST, bias=False),
                nn.BatchNorm2d(BOTTLENECK),
                nn.LeakyReLU(SLOPE),
                nn.ConvTranspose2d(BOTTLENECK, widths[-1], LAST, bias=False),
                nn.BatchNorm2d(widths[-1]),
                nn.ReLU(),
            ]
        upwards = widths[::-1]
        for before, after in pairwise(upwards):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[0], plan.outputs, 4, 2, 1, bias=False), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DiscoDiscriminator(nn.Module):
    """x (n, channels, h, w) in [0, 1] → logits (n, 1, h', w'), one where h = w = 4·2^halvings; and maps on the way.

    The maps are those behind each halving but the first, after its activation: (n, width·2^k, h/2^k, w/2^k).
    """

    def __init__(self, channels: int, width: int = 64, halvings: int = 4) -> None:
        super().__init__()
        widths = DiscoPlan(channels, channels, width, halvings).widths
        self.levels = nn.ModuleList()
        for number, (before, after) in enumerate(zip((channels, *widths), widths, strict=False)):
            norm = [nn.BatchNorm2d(after)] if number else []
            self.levels.append(nn.Sequential(nn.Conv2d(before, after, 4, 2, 1, bias=False), *norm, nn.LeakyReLU(SLOPE)))
        self.last = nn.Conv2d(widths[-1], 1, LAST, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps: list[Tensor] = []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return self.last(x), maps[1:]
