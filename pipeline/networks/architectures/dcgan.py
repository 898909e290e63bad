"""DCGAN, Radford et al. 2016: strided stacks, as PyTorch's example, the authors and StudioGAN have them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dimensions import CONVOLUTIONS, TRANSPOSED
from pipeline.networks.layers.embedding import LabelVector, join, rows_of
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
    """

    base: tuple[int, ...]
    widths: tuple[int, ...]
    channels: int
    norm: NormName = "batch"
    bias: bool = False
    classes: int = 0

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
        norm = make_norm(plan.norm, plan.widths[0], plan.classes, dimensions)
        self.stages = nn.ModuleList([Stage(first, norm)])
        before = plan.widths[0]
        for width in plan.widths[1:]:
            layer = (
                transposed(before, width, 4, 2, 1, bias=plan.bias)
                if upsampling == "transposed"
                else convolution(before, width, 3, 1, 1, bias=plan.bias)
            )
            self.stages.append(Stage(layer, make_norm(plan.norm, width, plan.classes, dimensions)))
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

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        x = noise.view(*noise.shape, *self.axes)
        for number, stage in enumerate(self.stages):
            if number and self.upsampling == "nearest":
                x = upsample_nearest(x)
            x = F.relu(stage(x, label))
        return torch.tanh(self.last(x))


class DownwardStack(nn.Module):
    """x (n, channels, base·2^k…) → logits (n,); 4/2/1 convolutions, leaky relu 0.2, no norm in the first.

    With classes, Miyato & Koyama's (2018) projection ⟨V y, Σ h⟩ is added to the logit.
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
            self.stages.append(Stage(layer, make_norm(plan.norm if index else "none", width, 0, dimensions)))
            before = width
        self.head = convolution(before, 1, plan.base, bias=plan.bias)  # pyright: ignore[reportArgumentType]
        self.projection = nn.Embedding(plan.classes, before) if plan.classes else None

    @property
    def levels(self) -> list[nn.Module]:
        """The convolutions, from the input down."""
        return [_stage(module).level for module in self.stages]

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for stage in self.stages:
            x = F.leaky_relu(stage(x), SLOPE)
        logits = self.head(x).flatten()
        if self.projection is not None and label is not None:
            logits = logits + (self.projection(label) * x.flatten(2).sum(2)).sum(1)
        return logits


def _stage(module: nn.Module) -> Stage:
    assert isinstance(module, Stage)
    return module


@dataclass(frozen=True, slots=True)
class DensePlan:
    """What both stacks are built from.

    base: the smallest map. widths: maps at each resolution from the smallest up, one doubling after each.
    hidden: units of dense layers beyond it, from the far end.
    joined: numbers of a label's code that stand beside the input of every layer.
    affine: whether batch norms have gains and biases. slope: of the discriminator's leaky relu.
    places_first: numbers of the smallest map stand by place and then by map where they meet a dense layer,
        as TensorFlow lays out images; else by map and then by place, as Theano.
    """

    base: tuple[int, int]
    widths: tuple[int, ...]
    channels: int
    hidden: tuple[int, ...] = ()
    kernel: Literal[4, 5] = 5
    bias: bool = False
    joined: int = 0
    affine: bool = True
    norm_eps: float = 1e-5
    slope: float = 0.2
    places_first: bool = False

    @property
    def flat(self) -> int:
        """Numbers in the smallest map."""
        return self.widths[0] * math.prod(self.base)

    def spread(self, x: Tensor) -> Tensor:
        """A dense layer's output (n, flat) as the smallest map (n, maps, h, w)."""
        if self.places_first:
            return x.view(-1, *self.base, self.widths[0]).permute(0, 3, 1, 2)
        return x.view(-1, self.widths[0], *self.base)

    def gather(self, x: Tensor) -> Tensor:
        """The smallest map (n, maps, h, w) as a dense layer's input (n, flat)."""
        return (x.permute(0, 2, 3, 1) if self.places_first else x).flatten(1)

    def dense(self, inputs: int, units: int) -> DenseStage:
        """A dense layer with batch norm of each unit."""
        layer = nn.Linear(inputs + self.joined, units, bias=self.bias)
        return DenseStage(layer, nn.BatchNorm1d(units, eps=self.norm_eps, affine=self.affine))

    def maps(self, layer: nn.Module, width: int) -> DenseStage:
        """A convolution with batch norm of each map."""
        return DenseStage(layer, nn.BatchNorm2d(width, eps=self.norm_eps, affine=self.affine))


class DenseStage(nn.Module):
    """A layer and the norm behind it; the code is joined to the layer's input."""

    def __init__(self, layer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.norm(self.layer(join(x, code)))


class DenseUpward(nn.Module):
    """Noise (n, inputs) and code (n, joined) → logits of the image (n, channels, base·2^widths).

    Doubling is a transposed convolution of stride 2; with kernel 5 its padding is (2, 2) and one row and
    column more at the end, as Theano's gradient of a convolution has it.
    """

    def __init__(self, plan: DensePlan, inputs: int) -> None:
        super().__init__()
        self.plan = plan
        sizes = (inputs, *plan.hidden, plan.flat)
        self.dense = nn.ModuleList(plan.dense(before, units) for before, units in pairwise(sizes))
        self.levels = nn.ModuleList(
            plan.maps(self._double(plan, before, width), width) for before, width in pairwise(plan.widths)
        )
        self.last = self._double(plan, plan.widths[-1], plan.channels)

    @staticmethod
    def _double(plan: DensePlan, inputs: int, outputs: int) -> nn.ConvTranspose2d:
        odd = plan.kernel % 2
        return nn.ConvTranspose2d(
            inputs + plan.joined, outputs, plan.kernel, 2, plan.kernel // 2 - 1 + odd, odd, bias=plan.bias
        )

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        x = noise
        for stage in self.dense:
            x = F.relu(stage(x, code))
        x = self.plan.spread(x)
        for stage in self.levels:
            x = F.relu(stage(x, code))
        return self.last(join(x, code))


class DenseDownward(nn.Module):
    """x (n, channels, base·2^widths) and code (n, joined) → logits (n,); no norm behind the first layer."""

    def __init__(self, plan: DensePlan) -> None:
        super().__init__()
        self.plan = plan
        widths = plan.widths[::-1]
        self.first = self._halve(plan, plan.channels, widths[0])
        self.levels = nn.ModuleList(
            plan.maps(self._halve(plan, before, width), width) for before, width in pairwise(widths)
        )
        sizes = (plan.flat, *plan.hidden[::-1])
        self.dense = nn.ModuleList(plan.dense(before, units) for before, units in pairwise(sizes))
        self.head = nn.Linear(sizes[-1] + plan.joined, 1, bias=plan.bias)

    @staticmethod
    def _halve(plan: DensePlan, inputs: int, outputs: int) -> nn.Conv2d:
        padding = plan.kernel // 2 - 1 + plan.kernel % 2
        return nn.Conv2d(inputs + plan.joined, outputs, plan.kernel, 2, padding, bias=plan.bias)

    def features(self, x: Tensor, code: Tensor) -> Tensor:
        """What the head reads: (n, units)."""
        x = F.leaky_relu(self.first(join(x, code)), self.plan.slope)
        for stage in self.levels:
            x = F.leaky_relu(stage(x, code), self.plan.slope)
        x = self.plan.gather(x)
        for stage in self.dense:
            x = F.leaky_relu(stage(x, code), self.plan.slope)
        return x

    def read(self, features: Tensor, code: Tensor) -> Tensor:
        """Logits (n,) of features."""
        return self.head(join(features, code)).flatten()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.read(self.features(x, code), code)


PAIRED_SLOPE = 0.1


PAIRED_EPS = 1e-4


@dataclass(frozen=True, slots=True)
class PairedPlan:
    """base: the smallest map. upward: the generator's maps from there up, one doubling between two.

    downward: the discriminator's maps, one halving each; `deepest` is one convolution more. classes: above 0,
    the discriminator adds a projection.
    """

    base: tuple[int, int]
    upward: tuple[int, ...]
    downward: tuple[int, ...]
    deepest: int
    channels: int
    classes: int = 0


class PairedGenerator(nn.Module):
    """Noise (n, inputs) → tanh output (n, channels, base·2^(upward − 1)); the dense layer has no activation."""

    def __init__(self, plan: PairedPlan, inputs: int) -> None:
        super().__init__()
        self.shape = (plan.upward[0], *plan.base)
        self.linear = nn.Linear(inputs, math.prod(self.shape))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(before, width, 4, 2, 1), nn.BatchNorm2d(width, eps=PAIRED_EPS), nn.ReLU())
            for before, width in pairwise(plan.upward)
        )
        self.output = nn.Conv2d(plan.upward[-1], plan.channels, 3, padding=1)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.linear(noise).view(-1, *self.shape)
        for block in self.blocks:
            x = block(x)
        return torch.tanh(self.output(x))


class PairedBlock(nn.Module):
    """3×3 then 4×4 of stride 2, batch norm and leaky relu 0.1 behind each; both norms are listed last."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.keep = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.halve = nn.Conv2d(outputs, outputs, 4, 2, 1)
        self.norm1 = nn.BatchNorm2d(outputs, eps=PAIRED_EPS)
        self.norm2 = nn.BatchNorm2d(outputs, eps=PAIRED_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm1(self.keep(x)), PAIRED_SLOPE)
        return F.leaky_relu(self.norm2(self.halve(x)), PAIRED_SLOPE)


class PairedDiscriminator(nn.Module):
    """x (n, channels, h, w) and label (n,) → logits (n,): the sum over the last map, one linear unit."""

    def __init__(self, plan: PairedPlan) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            PairedBlock(before, width) for before, width in pairwise((plan.channels, *plan.downward))
        )
        self.conv = nn.Conv2d(plan.downward[-1], plan.deepest, 3, padding=1)
        self.norm = nn.BatchNorm2d(plan.deepest, eps=PAIRED_EPS)
        self.head = nn.Linear(plan.deepest, 1)
        self.projection = nn.Embedding(plan.classes, plan.deepest) if plan.classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x)
        features = F.leaky_relu(self.norm(self.conv(x)), PAIRED_SLOPE).sum((2, 3))
        logits = self.head(features).flatten()
        if self.projection is not None and label is not None:
            logits = logits + (self.projection(label) * features).sum(1)
        return logits


class StackGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W) in [−1, 1].

    embedding: numbers that a label becomes beside the noise; at 0 the stack takes labels, or nothing does.
    """

    def __init__(self, stack: UpwardStack | DenseUpward | PairedGenerator, classes: int, embedding: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding) if classes and embedding else None
        self.stack = stack

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is not None and label is not None:
            z = torch.cat([z, rows_of(self.embedding.weight, label)], dim=1)
        if isinstance(self.stack, DenseUpward):
            return torch.tanh(self.stack(z, z[:, :0]))
        return self.stack(z, label)


class CodedGenerator(nn.Module):
    """Noise, or noise and codes (n, inputs), and label (n,) → (n, C, H, W): σ(a) of [0, 1] carried to [−1, 1]."""

    def __init__(self, plan: DensePlan, inputs: int, label: LabelVector) -> None:
        super().__init__()
        self.label = label
        self.stack = DenseUpward(plan, inputs)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.tanh(0.5 * self.stack(z, self.label(label, z)))


class CodedDiscriminator(nn.Module):
    """x (n, C, H, W) and label (n,) → logits (n,); the label's code stands beside every layer's input.

    unit: the stack sees x in [0, 1].
    """

    def __init__(self, plan: DensePlan, label: LabelVector, unit: bool = False) -> None:
        super().__init__()
        self.label = label
        self.stack = DenseDownward(plan)
        self.unit = unit

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stack((x + 1) / 2 if self.unit else x, self.label(label, x))
