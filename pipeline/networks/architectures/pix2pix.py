"""pix2pix, Isola et al. 2017: the U-Net, and discriminators of patches: 70×70, shallower, deeper, and of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dropout import Dropper
from pipeline.networks.layers.resample import MirroredDownsample


@dataclass(frozen=True, slots=True)
class UnetPlan:
    """inputs, outputs: channels of the two images; widths: maps of each halving, from the image inwards.

    dropped: decoder blocks that drop numbers, counted from the second innermost. planes: the input is planes of
    classes, whose values are not to be mixed.
    """

    inputs: int
    outputs: int
    widths: tuple[int, ...]
    dropped: int = 3
    planes: bool = False

    @property
    def multiple(self) -> int:
        """Sides must be multiples of it."""
        return 2 ** len(self.widths)


class Unet(nn.Module):
    """x (n, inputs, h, w) → (n, outputs, h, w) in [−1, 1] (Isola et al. 2017, section 6.1.1).

    Down: leaky relu, 4/2/1 convolution, batch norm (neither in the outermost nor the innermost). Up: relu,
    4/2/1 transposed convolution, batch norm, dropout; joined to the encoder's map of that size.
    """

    def __init__(self, plan: UnetPlan) -> None:
        super().__init__()
        self.planes = plan.planes
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


SLOPE = 0.2


PlaneNorm = Literal["batch", "instance", "none"]


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """width: maps of the first convolution, doubled by each further one up to 8·width.

    layers: convolutions of stride 2; 3 gives the 70×70 patch, 0 the pixel discriminator.
    antialiased: those convolutions keep stride 1, and a fixed filter halves behind each (Park et al. 2020).
    """

    channels: int
    width: int = 64
    layers: int = 3
    norm: PlaneNorm = "batch"
    antialiased: bool = False


def receptive_field(layers: int) -> int:
    """Side of the patch that one logit sees, in pixels: 16, 34, 70, 142, … for 1, 2, 3, 4, … strided layers."""
    if layers == 0:
        return 1
    side = 1
    for stride in (1, 1, *[2] * layers):
        side = (side - 1) * stride + 4
    return side


def plane_norm(name: PlaneNorm, channels: int) -> nn.Module:
    """Batch norm, instance norm without weights, or nothing."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if name == "instance" else nn.Identity()


class PatchDiscriminator(nn.Module):
    """x (n, channels, h, w) → logits (n, 1, h', w'), one a patch (Isola et al. 2017, section 3.2.2).

    Convolutions of 4×4, leaky relu 0.2, no norm in the first. Behind a batch norm's convolution there is no bias.
    """

    def __init__(self, plan: PatchPlan) -> None:
        super().__init__()
        bias = plan.norm != "batch"
        if plan.layers == 0:
            self.layers = nn.Sequential(
                nn.Conv2d(plan.channels, plan.width, 1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(plan.width, 2 * plan.width, 1, bias=bias),
                plane_norm(plan.norm, 2 * plan.width),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(2 * plan.width, 1, 1, bias=bias),
            )
            return
        strided = 1 if plan.antialiased else 2
        layers: list[nn.Module] = [nn.Conv2d(plan.channels, plan.width, 4, strided, 1), nn.LeakyReLU(SLOPE)]
        if plan.antialiased:
            layers.append(MirroredDownsample())
        before = plan.width
        for number in range(1, plan.layers + 1):
            after = plan.width * min(2**number, 8)
            last = number == plan.layers
            layers += [
                nn.Conv2d(before, after, 4, 1 if last else strided, 1, bias=bias),
                plane_norm(plan.norm, after),
                nn.LeakyReLU(SLOPE),
                *([MirroredDownsample()] if plan.antialiased and not last else []),
            ]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
