"""The FID Inception as a careful person writes it in an afternoon: functions over a state dict, nothing merged.

The yardstick of the benchmark and the oracle of the unit tests; it shares no code with the library.
It takes either form of state, BatchNorm as the public file has it or folded.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def unit(state: State, name: str, x: Tensor, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
    if f"{name}.weight" in state:
        return F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding))
    x = F.conv2d(x, state[f"{name}.conv.weight"], None, stride, padding)
    mean, variance, gamma, beta = (
        state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.relu(F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=1e-3))


def chain(state: State, block: str, x: Tensor, *steps: tuple[str, int | tuple[int, int]]) -> Tensor:
    for name, padding in steps:
        x = unit(state, f"{block}.{name}", x, padding=padding)
    return x


def average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


def mixed_5(s: State, b: str, x: Tensor) -> Tensor:
    five = chain(s, b, x, ("branch5x5_1", 0), ("branch5x5_2", 2))
    three = chain(s, b, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1), ("branch3x3dbl_3", 1))
    return torch.cat([unit(s, f"{b}.branch1x1", x), five, three, unit(s, f"{b}.branch_pool", average(x))], 1)


def mixed_6a(s: State, b: str, x: Tensor) -> Tensor:
    three = chain(s, b, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
    three = unit(s, f"{b}.branch3x3dbl_3", three, stride=2)
    return torch.cat([unit(s, f"{b}.branch3x3", x, stride=2), three, F.max_pool2d(x, 3, stride=2)], 1)


def mixed_6(s: State, b: str, x: Tensor) -> Tensor:
    wide, tall = (0, 3), (3, 0)
    seven = chain(s, b, x, ("branch7x7_1", 0), ("branch7x7_2", wide), ("branch7x7_3", tall))
    names = [f"branch7x7dbl_{number}" for number in range(1, 6)]
    double = chain(s, b, x, *zip(names, (0, tall, wide, tall, wide), strict=True))
    return torch.cat([unit(s, f"{b}.branch1x1", x), seven, double, unit(s, f"{b}.branch_pool", average(x))], 1)


def mixed_7a(s: State, b: str, x: Tensor) -> Tensor:
    three = unit(s, f"{b}.branch3x3_2", unit(s, f"{b}.branch3x3_1", x), stride=2)
    seven = chain(s, b, x, ("branch7x7x3_1", 0), ("branch7x7x3_2", (0, 3)), ("branch7x7x3_3", (3, 0)))
    seven = unit(s, f"{b}.branch7x7x3_4", seven, stride=2)
    return torch.cat([three, seven, F.max_pool2d(x, 3, stride=2)], 1)


def mixed_7(s: State, b: str, x: Tensor, pooled: Tensor) -> Tensor:
    three = unit(s, f"{b}.branch3x3_1", x)
    double = chain(s, b, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
    halves = [
        unit(s, f"{b}.{name}", of, padding=padding)
        for name, of, padding in (
            ("branch3x3_2a", three, (0, 1)),
            ("branch3x3_2b", three, (1, 0)),
            ("branch3x3dbl_3a", double, (0, 1)),
            ("branch3x3dbl_3b", double, (1, 0)),
        )
    ]
    return torch.cat([unit(s, f"{b}.branch1x1", x), *halves, unit(s, f"{b}.branch_pool", pooled)], 1)


def features(state: State, x: Tensor, tap: int) -> tuple[Tensor, Tensor | None]:
    """x (n, 3, 299, 299) in [-1, 1] → features (n, tap) and, at 2048, logits without bias."""
    x = unit(state, "Conv2d_1a_3x3", x, stride=2)
    x = unit(state, "Conv2d_2b_3x3", unit(state, "Conv2d_2a_3x3", x), padding=1)
    x = F.max_pool2d(x, kernel_size=3, stride=2)
    if tap > 64:
        x = unit(state, "Conv2d_4a_3x3", unit(state, "Conv2d_3b_1x1", x))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
    if tap > 192:
        for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = mixed_5(state, block, x)
        x = mixed_6a(state, "Mixed_6a", x)
        for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = mixed_6(state, block, x)
    if tap > 768:
        x = mixed_7a(state, "Mixed_7a", x)
        x = mixed_7(state, "Mixed_7b", x, average(x))
        x = mixed_7(state, "Mixed_7c", x, F.max_pool2d(x, kernel_size=3, stride=1, padding=1))
    pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
    return pooled, pooled @ state["fc.weight"].T if tap > 768 else None
