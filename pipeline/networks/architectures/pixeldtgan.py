"""PixelDTGAN, Yoo et al. 2016: a converter without skips, and the discriminator of DCGAN on one image or two."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

SLOPE = 0.2
WIDEST = 8
LAST = 4  # side of the last convolution of a discriminator


def widths(width: int, halvings: int) -> tuple[int, ...]:
    """Maps behind each halving: doubled up to 8 times the first."""
    return tuple(width * min(2**level, WIDEST) for level in range(halvings))


def _downward(channels: int, maps: tuple[int, ...]) -> list[nn.Module]:
    """4/2/1 convolutions without biases, batch norm in all but the first, leaky relu 0.2."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise((channels, *maps))):
        layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(after)] if number else []
        layers.append(nn.LeakyReLU(SLOPE))
    return layers


class Converter(nn.Module):
    """x (n, inputs, h, w) in [−1, 1] → (n, outputs, h, w) in [−1, 1]; sides are multiples of 2^halvings.

    Down as the discriminator; up by 4/2/1 transposed convolutions without biases, batch norm, relu; the last with tanh
    alone (Yoo et al. 2016, table 1, without the code of 64 numbers: the running reference is convolutional throughout).
    """

    def __init__(self, inputs: int, outputs: int, width: int, halvings: int) -> None:
        super().__init__()
        maps = widths(width, halvings)
        layers = _downward(inputs, maps)
        for before, after in pairwise(maps[::-1]):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.ConvTranspose2d(maps[0], outputs, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DomainDiscriminator(nn.Module):
    """x (n, channels, h, w) → logits (n, h', w'), one where h = w = 4·2^halvings. Of a pair, both images' channels."""

    def __init__(self, channels: int, width: int, halvings: int) -> None:
        super().__init__()
        maps = widths(width, halvings)
        self.layers = nn.Sequential(*_downward(channels, maps), nn.Conv2d(maps[-1], 1, LAST, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[:, 0]
