"""cGAN, Mirza & Osindero 2014: noise or pixels and a label's code each have a layer of their own, then meet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dropout import dropout
from pipeline.networks.layers.maxout import Maxout


class TwoBranchRelu(nn.Module):
    """Noise (n, inputs), code (n, k) → (n, outputs): relu branches of `widths` units, relu of both, linear.

    Dropout of hidden units draws from the generator handed in; without one nothing is dropped. With
    k = 0 there is no second branch.
    """

    def __init__(self, inputs: int, code: int, widths: tuple[int, int], joint: int, outputs: int) -> None:
        super().__init__()
        self.noise = nn.Linear(inputs, widths[0])
        self.code = nn.Linear(code, widths[1]) if code else None
        self.joint = nn.Linear(widths[0] + (widths[1] if code else 0), joint)
        self.output = nn.Linear(joint, outputs)

    def forward(self, z: Tensor, code: Tensor, keep: float, generator: torch.Generator | None = None) -> Tensor:
        hidden = [self.noise(z)] if self.code is None else [self.noise(z), self.code(code)]
        x = dropout(F.relu(torch.cat(hidden, dim=1)), keep, generator)
        return self.output(dropout(F.relu(self.joint(x)), keep, generator))


class TwoBranchMaxout(nn.Module):
    """x (n, inputs), code (n, k) → logits (n,): maxout branches, maxout of both, one linear unit.

    branches: (units, pieces) of the pixels', the code's and the joint layer. Dropout as above.
    """

    def __init__(self, inputs: int, code: int, branches: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        pixels, labels, joint = branches
        self.pixels = Maxout(inputs, *pixels)
        self.code = Maxout(code, *labels) if code else None
        self.joint = Maxout(pixels[0] + (labels[0] if code else 0), *joint)
        self.output = nn.Linear(joint[0], 1)

    def forward(self, x: Tensor, code: Tensor, keep: float, generator: torch.Generator | None = None) -> Tensor:
        hidden = [self.pixels(x)] if self.code is None else [self.pixels(x), self.code(code)]
        y = dropout(torch.cat(hidden, dim=1), keep, generator)
        return self.output(dropout(self.joint(y), keep, generator)).flatten()
