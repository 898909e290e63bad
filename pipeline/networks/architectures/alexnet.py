"""AlexNet (Krizhevsky 2014, the one-tower form): its convolutions, for LPIPS."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.networks.architectures.vgg import DEVIATION, MEAN

WIDTHS = (64, 192, 384, 256, 256)
TAPS = ("relu1", "relu2", "relu3", "relu4", "relu5")


class AlexNet(nn.Module):
    """x (n, 3, h, w) in [0, 1], normalised by ImageNet's statistics → maps behind each rectifier, by name.

    Sides of 31 pixels are the least.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = _layers()
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        x = (x - self.get_buffer("mean")) / self.get_buffer("deviation")
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found[TAPS[len(found)]] = x
        return found


def shapes() -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, under the public file's names `features.<layer>.weight` and `.bias`."""
    return {f"features.{name}": tuple(each.shape) for name, each in _layers().named_parameters()}


def _layers() -> nn.Sequential:
    first, second, third, fourth, fifth = WIDTHS
    return nn.Sequential(
        nn.Conv2d(3, first, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(second, third, 3, padding=1), nn.ReLU(),
        nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU(),
        nn.Conv2d(fourth, fifth, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
