"""DCGAN's pair of convolutional stacks for any number of dimensions, any base and any channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dimensions import CONVOLUTIONS, TRANSPOSED
from pipeline.networks.layers.norm import NormName, make_norm, normalise
from pipeline.networks.layers.resample import upsample_nearest

Upsampling = Literal["transposed", "nearest"]


SLOPE = 0.2


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What both stacks are built from.

    base: the smallest map, one number an axis.
    widths: maps at each resolution from the smallest up, one a doubling; a generator that
        doubles by repetition has one more, at full resolution.
    channels: of the data. bias: whether convolutions have one.
    classes: above 0, labels enter (generator: batch norm per class; discriminator: projection).
    norm_eps: of batch norm. logits: that the discriminator gives.
    """

    base: tuple[int, ...]
    widths: tuple[int, ...]
    channels: int
    norm: NormName = "batch"
    bias: bool = False
    classes: int = 0
    norm_eps: float = 1e-5
    logits: int = 1

    @property
    def dimensions(self) -> int:
        return len(self.base)


class Stage(nn.Module):
    """A convolution and the norm behind it, listed in this order as the references list them."""

    def __init__(self, level: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.level = level
        self.norm = norm

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Norm of the convolution of x, with the label where the norm is conditional."""
        return normalise(self.norm, self.level(x), label)


class UpwardStack(nn.Module):
    """Noise (n, inputs) → tanh output (n, channels, base·2^k…) (Radford et al. 2016).

    `transposed` doubles by a 4/2/1 transposed convolution, the last of which gives the output;
    `nearest` doubles by repetition and a 3/1/1 convolution, with one more for the output.
    """

    def __init__(self, plan: StackPlan, inputs: int, upsampling: Upsampling = "transposed") -> None:
        super().__init__()
        self.upsampling = upsampling
        dimensions = plan.dimensions
        transposed, convolution = TRANSPOSED[dimensions], CONVOLUTIONS[dimensions]
        self.axes = (1,) * dimensions
        first = transposed(inputs, plan.widths[0], plan.base, bias=plan.bias)  # pyright: ignore[reportArgumentType]
        norm = make_norm(plan.norm, plan.widths[0], plan.classes, dimensions, plan.norm_eps)
        self.stages = nn.ModuleList([Stage(first, norm)])
        before = plan.widths[0]
        for width in plan.widths[1:]:
            layer = (
                transposed(before, width, 4, 2, 1, bias=plan.bias)
                if upsampling == "transposed"
                else convolution(before, width, 3, 1, 1, bias=plan.bias)
            )
            self.stages.append(Stage(layer, make_norm(plan.norm, width, plan.classes, dimensions, plan.norm_eps)))
            before = width
        self.last = (
            transposed(before, plan.channels, 4, 2, 1, bias=plan.bias)
            if upsampling == "transposed"
            else convolution(before, plan.channels, 3, 1, 1, bias=True)
        )

    @property
    def first(self) -> nn.Module:
        """The layer that makes the smallest map."""
        return _stage(self.stages[0]).level

    @property
    def levels(self) -> list[nn.Module]:
        """The layers that double, without the last."""
        return [_stage(module).level for module in list(self.stages)[1:]]

    @property
    def norms(self) -> list[nn.Module]:
        """From the smallest map up."""
        return [_stage(module).norm for module in self.stages]

    def maps(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """The output before its tanh."""
        x = noise.view(*noise.shape, *self.axes)
        for number, stage in enumerate(self.stages):
            if number and self.upsampling == "nearest":
                x = upsample_nearest(x)
            x = F.relu(stage(x, label))
        return self.last(x)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.tanh(self.maps(noise, label))


class DownwardStack(nn.Module):
    """x (n, channels, base·2^k…) → logits (n,), or (n, logits) of several; 4/2/1 convolutions, leaky relu 0.2.

    No norm is behind the first.

    With classes, Miyato & Koyama's (2018) projection ⟨V y, Σ h⟩ is added to the first.
    """

    def __init__(self, plan: StackPlan) -> None:
        super().__init__()
        dimensions = plan.dimensions
        convolution = CONVOLUTIONS[dimensions]
        widths = plan.widths[::-1]
        self.stages = nn.ModuleList()
        before = plan.channels
        for index, width in enumerate(widths):
            layer = convolution(before, width, 4, 2, 1, bias=plan.bias)
            norm = make_norm(plan.norm if index else "none", width, 0, dimensions, plan.norm_eps)
            self.stages.append(Stage(layer, norm))
            before = width
        self.head = convolution(before, plan.logits, plan.base, bias=plan.bias)  # pyright: ignore[reportArgumentType]
        self.projection = nn.Embedding(plan.classes, before) if plan.classes else None

    @property
    def levels(self) -> list[nn.Module]:
        """The convolutions, from the input down."""
        return [_stage(module).level for module in self.stages]

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for stage in self.stages:
            x = F.leaky_relu(stage(x), SLOPE)
        first, *others = self.head(x).flatten(1).unbind(1)
        if self.projection is not None and label is not None:
            first = first + (self.projection(label) * x.flatten(2).sum(2)).sum(1)
        return torch.stack([first, *others], dim=1) if others else first


def _stage(module: nn.Module) -> Stage:
    assert isinstance(module, Stage)
    return module
