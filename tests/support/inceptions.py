"""Random networks of the FID Inception's shape, as the public file holds them: for tests that need no real weights."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from pipeline.networks.architectures.inception import shapes


@functools.cache
def random_state(seed: int = 0) -> dict[str, Tensor]:
    """BatchNorm under torchvision's names; scaled so that activations neither die nor explode."""
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in shapes(folded=False).items():
        if name.endswith("conv.weight"):
            fan_in = shape[1] * shape[2] * shape[3]
            state[name] = torch.randn(shape, generator=draw) * (2 / fan_in) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = 0.5 + torch.rand(shape, generator=draw)
        else:
            state[name] = 0.1 * torch.randn(shape, generator=draw)
    return state
