"""The 2015-12-05 Inception network of the published FID and Inception Score, with its quirks.

Szegedy et al. 2016 (arXiv 1512.00567) as TensorFlow's frozen graph of that date holds it, under
torchvision's module names. It differs from torchvision's Inception v3 in the pooling branches: the
average pools leave the padding out of their mean, the last block takes a maximum, and there are
1008 logits. It comes in two forms: with BatchNorm (eps 1e-3), and with it folded into the
convolutions, which is what is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tap = Literal[64, 192, 768, 2048]


TAPS: tuple[Tap, ...] = (64, 192, 768, 2048)


LOGITS = 1008


SIDE = 299


EPS = 1e-3


# The layers each tap adds to those before it, in the order of the network.
LAYERS: dict[Tap, tuple[str, ...]] = {
    64: ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    192: ("Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    768: ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    2048: ("Mixed_7a", "Mixed_7b", "Mixed_7c", "fc"),
}


class Folded(nn.Conv2d):
    """Convolution, bias, ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu_()


class Normalised(nn.Module):
    """Convolution, BatchNorm, ReLU: what the public state dict holds."""

    def __init__(self, before: int, after: int, kernel: Any, stride: int = 1, padding: Any = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


Unit = type[Folded] | type[Normalised]


def mean_around(x: Tensor) -> Tensor:
    """3×3 means of what lies inside the image: nine numbers, six at a side, four at a corner."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Mixed5(nn.Module):
    """35×35: 1×1, 5×5, two 3×3, pool."""

    def __init__(self, unit: Unit, before: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = unit(before, 64, 1)
        self.branch5x5_1 = unit(before, 48, 1)
        self.branch5x5_2 = unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = unit(before, 64, 1)
        self.branch3x3dbl_2 = unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = unit(96, 96, 3, padding=1)
        self.branch_pool = unit(before, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(mean_around(x))], dim=1)


class Mixed6a(nn.Module):
    """35×35 → 17×17."""

    def __init__(self, unit: Unit, before: int) -> None:
        super().__init__()
        self.branch3x3 = unit(before, 384, 3, stride=2)
        self.branch3x3dbl_1 = unit(before, 64, 1)
        self.branch3x3dbl_2 = unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], dim=1)


class Mixed6(nn.Module):
    """17×17: 1×1, 7×7 in two strokes, 7×7 twice in four, pool."""

    def __init__(self, unit: Unit, before: int, width: int) -> None:
        super().__init__()
        across: dict[str, Any] = {"kernel": (1, 7), "padding": (0, 3)}
        down: dict[str, Any] = {"kernel": (7, 1), "padding": (3, 0)}

        def stroke(inner: int, outer: int, how: dict[str, Any]) -> nn.Module:
            return unit(inner, outer, how["kernel"], padding=how["padding"])

        self.branch1x1 = unit(before, 192, 1)
        self.branch7x7_1 = unit(before, width, 1)
        self.branch7x7_2 = stroke(width, width, across)
        self.branch7x7_3 = stroke(width, 192, down)
        self.branch7x7dbl_1 = unit(before, width, 1)
        self.branch7x7dbl_2 = stroke(width, width, down)
        self.branch7x7dbl_3 = stroke(width, width, across)
        self.branch7x7dbl_4 = stroke(width, width, down)
        self.branch7x7dbl_5 = stroke(width, 192, across)
        self.branch_pool = unit(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(mean_around(x))], dim=1)


class Mixed7a(nn.Module):
    """17×17 → 8×8."""

    def __init__(self, unit: Unit, before: int) -> None:
        super().__init__()
        self.branch3x3_1 = unit(before, 192, 1)
        self.branch3x3_2 = unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = unit(before, 192, 1)
        self.branch7x7x3_2 = unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, stride=2)], dim=1)


class Mixed7(nn.Module):
    """8×8: 1×1, 3×3 split in two, 3×3 twice split in two, pool: a mean, or the last block's maximum."""

    def __init__(self, unit: Unit, before: int, *, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.branch1x1 = unit(before, 320, 1)
        self.branch3x3_1 = unit(before, 384, 1)
        self.branch3x3_2a = unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = unit(before, 448, 1)
        self.branch3x3dbl_2 = unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = unit(before, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.maximum else mean_around(x)
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(pooled),
        ]
        return torch.cat(branches, dim=1)


class Inception(nn.Module):
    """The network as far as `tap`; only the layers that it needs exist."""

    def __init__(self, tap: Tap = 2048, *, folded: bool = True) -> None:
        super().__init__()
        self.tap: Tap = tap
        self.mixed = [name for deep in TAPS if deep <= tap for name in LAYERS[deep] if name.startswith("Mixed")]
        unit: Unit = Folded if folded else Normalised
        self.Conv2d_1a_3x3 = unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = unit(32, 32, 3)
        self.Conv2d_2b_3x3 = unit(32, 64, 3, padding=1)
        if tap >= 192:
            self.Conv2d_3b_1x1 = unit(64, 80, 1)
            self.Conv2d_4a_3x3 = unit(80, 192, 3)
        if tap >= 768:
            self.Mixed_5b = Mixed5(unit, 192, 32)
            self.Mixed_5c = Mixed5(unit, 256, 64)
            self.Mixed_5d = Mixed5(unit, 288, 64)
            self.Mixed_6a = Mixed6a(unit, 288)
            self.Mixed_6b = Mixed6(unit, 768, 128)
            self.Mixed_6c = Mixed6(unit, 768, 160)
            self.Mixed_6d = Mixed6(unit, 768, 160)
            self.Mixed_6e = Mixed6(unit, 768, 192)
        if tap >= 2048:
            self.Mixed_7a = Mixed7a(unit, 768)
            self.Mixed_7b = Mixed7(unit, 1280, maximum=False)
            self.Mixed_7c = Mixed7(unit, 2048, maximum=True)
            self.fc = nn.Linear(2048, LOGITS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x (n, 3, 299, 299) in about [-1, 1] → features (n, tap), the means over positions, and logits.

        Logits (n, 1008) come at tap 2048 alone, and without fc's bias: the published Inception
        Score multiplies the pool by the weights and adds nothing (Salimans et al. 2016).
        """
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        if self.tap >= 192:
            x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
            x = F.max_pool2d(x, 3, stride=2)
        for name in self.mixed:
            x = getattr(self, name)(x)
        features = x.mean(dim=(2, 3))
        return features, F.linear(features, self.fc.weight) if self.tap == 2048 else None


def fold(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with BatchNorm → one without: w·γ/√(σ² + eps) and β − μ·γ/√(σ² + eps), through float64."""
    result: dict[str, Tensor] = {name: state[name] for name in state if name.startswith("fc.")}
    for name in [name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")]:
        gamma, beta, mean, variance = (
            state[f"{name}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / torch.sqrt(variance + EPS)
        weight = state[f"{name}.conv.weight"].double() * scale[:, None, None, None]
        result[f"{name}.weight"] = weight.float()
        result[f"{name}.bias"] = (beta - mean * scale).float()
    return result


def shapes(tap: Tap = 2048, *, folded: bool = True) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network's state and its shape; nothing is allocated."""
    with torch.device("meta"):
        state = Inception(tap, folded=folded).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
