"""pix2pix's U-Net: an encoder whose every map is joined to the decoder's of equal size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2


@dataclass(frozen=True, slots=True)
class UnetPlan:
    """inputs, outputs: channels of the two images; widths: maps of each halving, from the image inwards.

    dropped: decoder blocks that drop numbers, counted from the second innermost.
    """

    inputs: int
    outputs: int
    widths: tuple[int, ...]
    dropped: int = 3

    @property
    def multiple(self) -> int:
        """Sides must be multiples of it."""
        return 2 ** len(self.widths)


class Dropper:
    """Dropout whose masks each example draws from a seed of its own, layer after layer.

    seeds: int64 (n,). share: of the numbers that become 0; the others are divided by what is kept. On the
    meta device nothing is drawn.
    """

    def __init__(self, seeds: Tensor, share: float) -> None:
        self.share = share
        self.sources: Sequence[torch.Generator] = (
            [] if seeds.is_meta else [torch.Generator().manual_seed(int(seed)) for seed in seeds.tolist()]
        )

    def __call__(self, x: Tensor) -> Tensor:
        if not self.sources or self.share <= 0:
            return x
        kept = torch.stack([torch.rand(x.shape[1:], generator=source) for source in self.sources]) >= self.share
        return x * kept.to(x.device) / (1 - self.share)


class Unet(nn.Module):
    """x (n, inputs, h, w) → (n, outputs, h, w) in [−1, 1] (Isola et al. 2017, section 6.1.1).

    Down: leaky relu, 4/2/1 convolution, batch norm (neither in the outermost nor the innermost). Up: relu,
    4/2/1 transposed convolution, batch norm, dropout; joined to the encoder's map of that size.
    """

    def __init__(self, plan: UnetPlan) -> None:
        super().__init__()
        count, widths = len(plan.widths), plan.widths
        self.dropped = range(1, 1 + plan.dropped)
        before = (plan.inputs, *widths)
        self.down = nn.ModuleList()
        for depth in range(count):
            layers: list[nn.Module] = [nn.Conv2d(before[depth], widths[depth], 4, 2, 1, bias=False)]
            if 0 < depth < count - 1:
                layers.append(nn.BatchNorm2d(widths[depth]))
            self.down.append(nn.Sequential(*layers))
        self.up = nn.ModuleList()
        for depth in reversed(range(1, count)):
            joined = widths[depth] if depth == count - 1 else 2 * widths[depth]
            level = nn.ConvTranspose2d(joined, widths[depth - 1], 4, 2, 1, bias=False)
            self.up.append(nn.Sequential(level, nn.BatchNorm2d(widths[depth - 1])))
        joined = widths[0] if count == 1 else 2 * widths[0]
        self.last = nn.ConvTranspose2d(joined, plan.outputs, 4, 2, 1)

    def forward(self, x: Tensor, drop: Dropper | None = None, alone: bool = False) -> Tensor:
        """The translation of x.

        drop: the noise of this design; without it nothing is dropped. alone: batch norms see each example
        as a batch of one, whatever the mode (the authors sample so).
        """
        kept: list[Tensor] = []
        for depth, level in enumerate(self.down):
            x = _passed(level, F.leaky_relu(x, SLOPE) if depth else x, alone)
            kept.append(x)
        for number, level in enumerate(self.up):
            x = _passed(level, F.relu(x), alone)
            if drop is not None and number in self.dropped:
                x = drop(x)
            x = torch.cat([kept[-2 - number], x], dim=1)
        return torch.tanh(self.last(F.relu(x)))


def _passed(level: nn.Module, x: Tensor, alone: bool) -> Tensor:
    if not alone:
        return level(x)
    assert isinstance(level, nn.Sequential)
    for layer in level:
        if isinstance(layer, nn.BatchNorm2d):
            x = F.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=layer.eps)
        else:
            x = layer(x)
    return x
