"""cGAN, Mirza & Osindero 2014: noise or pixels and a label's code each have a layer of their own, then meet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.dropout import dropout
from pipeline.networks.layers.embedding import LabelVector
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


class BranchedGenerator(nn.Module):
    """Noise (n, latent) over (−1, 1) and label (n,) → (n, C, H, W) in [−1, 1].

    The paper's images are σ(a) in [0, 1]; carried to [−1, 1], that is tanh(a/2). Its noise is over the unit hypercube.
    """

    def __init__(self, label: LabelVector, stack: TwoBranchRelu, shape: tuple[int, ...], keep: float) -> None:
        super().__init__()
        self.label = label
        self.stack = stack
        self.shape = shape
        self.keep = keep

    def forward(self, z: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        x = self.stack((z + 1) / 2, self.label(label, z), self.keep, generator)
        return torch.tanh(0.5 * x).view(-1, *self.shape)


class BranchedDiscriminator(nn.Module):
    """x (n, C, H, W) in [−1, 1] and label (n,) → logits (n,); sees x in [0, 1]."""

    def __init__(self, label: LabelVector, stack: TwoBranchMaxout, keep: float) -> None:
        super().__init__()
        self.label = label
        self.stack = stack
        self.keep = keep

    def forward(self, x: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        return self.stack(((x + 1) / 2).flatten(1), self.label(label, x), self.keep, generator)
