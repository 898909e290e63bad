"""The classifier's network for every modality: n-D convolutions, or a perceptron where the data are rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.types import DataSpec, Modality


@dataclass(frozen=True)
class Plan:
    """How a modality is made small: strided convolutions until its shortest side is `target` or below.

    cells: a mean over everything would forget what is where; that many a side keep a little of it.
    """

    convolution: type[nn.Module]
    norm: type[nn.Module]
    pool: type[nn.Module]
    kernel: int
    stride: int
    target: int
    cells: int


# A waveform's sides are hundreds of times an image's: longer kernels, larger strides.
PLANS: dict[Modality, Plan] = {
    "waveform": Plan(nn.Conv1d, nn.BatchNorm1d, nn.AdaptiveAvgPool1d, 9, 4, 16, 4),
    "image": Plan(nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d, 3, 2, 4, 2),
    "voxels": Plan(nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d, 3, 2, 4, 2),
    "video": Plan(nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d, 3, 2, 4, 2),
}


class Classifier(nn.Module):
    """A body by modality, then two linear layers: the features and the logits."""

    def __init__(self, spec: DataSpec, width: int, dimension: int) -> None:
        super().__init__()
        if spec.modality == "rows":
            self.body, found = _rows_body(spec.size, width)
        else:
            self.body, found = _convolutional_body(spec, PLANS[spec.modality], width)
        self.hidden = nn.Linear(found, dimension)
        self.output = nn.Linear(dimension, len(spec.classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (n, *shape) → features (n, dimension), logits (n, classes)."""
        features = self.hidden(self.body(x)).relu()
        return features, self.output(features)


def _convolutional_body(spec: DataSpec, plan: Plan, width: int) -> tuple[nn.Sequential, int]:
    """Widths w, 2w, 4w, 4w, …; and how many numbers come out."""
    side, dimensions = min(spec.resolution), len(spec.resolution)
    reductions = math.ceil(math.log(side / plan.target, plan.stride) - 1e-9) if side > plan.target else 0
    layers = _block(plan, spec.channels, width, 1)
    before = width
    for depth in range(reductions):
        after = width * min(2 ** (depth + 1), 4)
        layers += _block(plan, before, after, plan.stride)
        before = after
    layers += [*_block(plan, before, 4 * width, 1), plan.pool(plan.cells), nn.Flatten()]
    return nn.Sequential(*layers), 4 * width * plan.cells**dimensions


def _block(plan: Plan, before: int, after: int, stride: int) -> list[nn.Module]:
    convolution = plan.convolution(before, after, plan.kernel, stride=stride, padding=plan.kernel // 2, bias=False)
    return [convolution, plan.norm(after), nn.ReLU()]


def _rows_body(size: int, width: int) -> tuple[nn.Sequential, int]:
    """Columns of any scale are brought to one by a batch norm without weights of its own."""
    inner = 8 * width
    layers: list[nn.Module] = [nn.Flatten(), nn.BatchNorm1d(size, affine=False)]
    for before in (size, inner):
        layers += [nn.Linear(before, inner, bias=False), nn.BatchNorm1d(inner), nn.ReLU()]
    return nn.Sequential(*layers), inner
