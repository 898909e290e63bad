"""Orthogonal regularisation: a penalty on weights, and so no plug-in; those see a discriminator's outputs alone."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn


def orthogonality(network: nn.Module, skipped: Collection[nn.Parameter] = ()) -> Tensor:
    """½ Σ ‖WWᵀ ⊙ (1 − I)‖² over every weight of two axes or more, as (outputs, rest): a scalar.

    Brock et al. 2019, equation 3, without the diagonal; β times its gradient 2(WWᵀ ⊙ (1 − I))W is what
    BigGAN-PyTorch adds for `ortho` β. (The paper's own R has no ½.) `skipped` parameters are left out.
    """
    left_out = {id(parameter) for parameter in skipped}
    total = torch.zeros(())
    for parameter in network.parameters():
        if parameter.dim() < 2 or id(parameter) in left_out:
            continue
        weight = parameter.flatten(1)
        gram = weight @ weight.T
        total = total.to(gram.device) + 0.5 * (gram.square().sum() - gram.diagonal().square().sum())
    return total
