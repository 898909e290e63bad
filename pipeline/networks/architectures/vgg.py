"""VGG (Simonyan & Zisserman 2015): the convolutions of VGG16 and VGG19, for perceptual losses."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Depth = Literal[16, 19]
BLOCKS: dict[Depth, tuple[int, ...]] = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
# ImageNet's mean and deviation of red, green and blue in [0, 1]: what the published weights were trained on.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Vgg(nn.Module):
    """x (n, 3, h, w) in [0, 1], normalised by ImageNet's statistics → maps at `taps`, by name.

    taps: `conv<block>_<layer>` for the maps before the rectifier, `relu<block>_<layer>` for those after it; `relu5_4`
    of VGG19 is what SRGAN's paper calls VGG54. Layers beyond the last tap are not run. Block 5 needs sides of 16.

    Raises:
        ValueError: for a tap that the network does not have.
    """

    def __init__(self, depth: Depth, taps: tuple[str, ...]) -> None:
        super().__init__()
        unknown = set(taps) - set(names(depth))
        if unknown or not taps:
            raise ValueError(f"VGG{depth} has no maps {sorted(unknown)}; it has {', '.join(names(depth))}")
        self.taps = taps
        self.features = _layers(depth)
        self._names = names(depth, pools=True)
        self._last = max(self._names.index(tap) for tap in taps)
        mean, deviation = (nn.Buffer(_column(values), persistent=False) for values in (MEAN, DEVIATION))
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        x = (x - self.mean) / self.deviation
        for name, layer in zip(self._names[: self._last + 1], self.features, strict=False):
            x = layer(x)
            if name in self.taps:
                found[name] = x
        return found


def names(depth: Depth, *, pools: bool = False) -> list[str]:
    """The maps in their order; with the pools between blocks, as many as there are layers."""
    found: list[str] = []
    for block, count in enumerate(BLOCKS[depth], start=1):
        for layer in range(1, count + 1):
            found += [f"conv{block}_{layer}", f"relu{block}_{layer}"]
        found += [f"pool{block}"] if pools else []
    return found


def shapes(depth: Depth) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, under the public files' names `features.<layer>.weight` and `.bias`."""
    return {f"features.{name}": tuple(each.shape) for name, each in _layers(depth).named_parameters()}


def _layers(depth: Depth) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in zip(WIDTHS, BLOCKS[depth], strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)
