"""A small network that names the class of each pixel, learnt from the data's own photographs and maps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import randomness
from pipeline.contract.metric import LabelMaps
from pipeline.threads import fixed_threads

SPREADS = (1, 2, 4, 8)
"""How far apart the taps of each 3×3 convolution lie: together they see 33 pixels across."""


class Segmenter(nn.Module):
    """x (n, channels, H, W) in [-1, 1] → logits (n, classes, H, W), of the pixel and of every level at its place."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for before, spread in zip((channels, *[width] * 3), SPREADS, strict=True):
            convolution = nn.Conv2d(before, width, 3, padding=spread, dilation=spread, bias=False)
            self.levels.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
        self.output = nn.Conv2d(channels + len(SPREADS) * width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for level in self.levels:
            found.append(level(found[-1]))
        return self.output(torch.cat(found, dim=1))


def learnt(maps: LabelMaps, width: int, examples: int, batch: int, lr: float) -> Segmenter:
    """A segmenter trained on `examples` training pairs, in an order and from weights that are always the same.

    Cross-entropy over places with a class, AdamW, a cosine of the rate to zero.
    """
    first = maps.train(np.zeros(1, dtype=np.int64))
    with fixed_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(randomness.key(0, "segmenter/weights"))
        network = Segmenter(first.photo.shape[1], maps.classes, width)
        optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.01)
        steps = max(1, examples // batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            source = randomness.generator(0, "segmenter/batch", step)
            numbers = torch.randint(0, maps.trained, (batch,), generator=source).numpy()
            block = maps.train(numbers)
            wanted = torch.from_numpy(block.classes)
            if not bool((wanted >= 0).any()):
                continue
            loss = F.cross_entropy(network(_scaled(block.photo)), wanted, ignore_index=-1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def named(network: Segmenter, photo: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The likeliest class of each place (n, H, W)."""
    with torch.no_grad(), fixed_threads(1):
        return np.concatenate([network(_scaled(photo[i : i + 16])).argmax(1).numpy() for i in range(0, len(photo), 16)])


def _scaled(photo: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(photo)).float().div(127.5).sub(1)
