"""Discriminators that judge every patch: the 70×70 PatchGAN, its shallower and deeper kin, and the pixel's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

SLOPE = 0.2
PlaneNorm = Literal["batch", "instance", "none"]


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """width: maps of the first convolution, doubled by each further one up to 8·width.

    layers: convolutions of stride 2; 3 gives the 70×70 patch, 0 the pixel discriminator.
    """

    channels: int
    width: int = 64
    layers: int = 3
    norm: PlaneNorm = "batch"


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
        layers: list[nn.Module] = [nn.Conv2d(plan.channels, plan.width, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        before = plan.width
        for number in range(1, plan.layers + 1):
            after = plan.width * min(2**number, 8)
            stride = 2 if number < plan.layers else 1
            layers += [
                nn.Conv2d(before, after, 4, stride, 1, bias=bias),
                plane_norm(plan.norm, after),
                nn.LeakyReLU(SLOPE),
            ]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
