"""medGAN, Choi et al. 2017: an autoencoder of binary and count columns, a generator of codes, a critic of batches."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.layers.binary_codec import BinaryCodec


class Encoder(nn.Module):
    """(n, inputs) → the code (n, code), tanh, or relu for counts alone. codec: what the numbers of a row are."""

    def __init__(self, codec: BinaryCodec, code: int) -> None:
        super().__init__()
        self.codec = codec
        self.output = nn.Linear(codec.width, code)
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        code = self.output(x)
        return F.relu(code) if self.codec.counts_alone else torch.tanh(code)


class Decoder(nn.Module):
    """The code (n, code) → (n, outputs): sigmoid of binary numbers, relu of counts."""

    def __init__(self, codec: BinaryCodec, code: int) -> None:
        super().__init__()
        self.codec = codec
        self.output = nn.Linear(code, codec.width)
        glorot(self)

    def forward(self, code: Tensor) -> Tensor:
        raw = self.output(code)
        return torch.where(self.codec.is_count(raw), F.relu(raw), torch.sigmoid(raw))


class Shortcut(nn.Module):
    """(n, width) → x + f(BN(Wx)), eps 1e-3, the moving statistics by 0.01 a step; f: relu, or of the last one tanh."""

    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.last = last
        self.dense = nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(width, eps=1e-3, momentum=0.01)
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        found = self.norm(self.dense(x))
        return x + (torch.tanh(found) if self.last else F.relu(found))


class CodeGenerator(nn.Sequential):
    """Noise (n, width) → a code (n, width): blocks that add to what they are given. counts: the last one rectifies."""

    def __init__(self, width: int, blocks: int, counts: bool) -> None:
        super().__init__(*(Shortcut(width, number == blocks - 1 and not counts) for number in range(blocks)))


class BatchCritic(nn.Module):
    """Rows (n, inputs) → logits (n,); each row stands beside the mean of all (minibatch averaging)."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise((2 * inputs, *widths)))
        self.output = nn.Linear(widths[-1], 1)
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x.mean(0, keepdim=True).expand_as(x)], dim=1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.output(x).flatten()


@torch.no_grad()
def glorot(network: nn.Module) -> None:
    """Glorot-uniform weights, and biases U(−√(3/n), √(3/n)) of n numbers, as TensorFlow's `get_variable` draws both."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter):
                bound = math.sqrt(3 / len(bias))
                nn.init.uniform_(bias, -bound, bound)
