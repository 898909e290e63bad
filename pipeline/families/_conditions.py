"""Conditioning augmentation, and the losses of a discriminator that sees right pairs, wrong pairs and fakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.contract import Loss

CUT = math.sqrt(2)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Fakes of a turn, what their discriminator is told of the text, and the divergence of their condition."""

    fake: Tensor
    told: Tensor
    divergence: Tensor


def cut_normal(uniform: Tensor) -> Tensor:
    """Uniform numbers over (−1, 1) → N(0, 1) cut at two deviations, as TensorFlow cuts it: √2·erf⁻¹(u·erf(√2))."""
    return CUT * torch.erfinv(uniform * math.erf(CUT))


def divergence(mean: Tensor, spread: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of μ and log σ, the mean over examples and numbers: −log σ + ½(σ² + μ² − 1)."""
    return (-spread + 0.5 * (torch.exp(2 * spread) + mean.square() - 1)).mean()


def matching_loss(loss: Loss, real: Sequence[Tensor], wrong: Sequence[Tensor] | None, fake: Sequence[Tensor]) -> Tensor:
    """What D minimises on logits of right pairs, wrong pairs and fakes: real + ½(wrong + fake).

    Where D judges images alone as well, the second of `real` and `fake`: ½ of both reals, ⅓ of both fakes and of wrong
    pairs. Of a loss that is a sum of a real and a fake part, any weights come of pairs of them.
    """
    pair = loss.discriminator
    if wrong is None:
        return pair(real[0], fake[0])
    if len(real) == 1:
        return (pair(real[0], fake[0]) + pair(real[0], wrong[0])) / 2
    whole = pair(real[0], fake[0]) + pair(real[1], fake[1])
    return whole / 3 + (pair(real[0], wrong[0]) + pair(real[1], wrong[0])) / 6
