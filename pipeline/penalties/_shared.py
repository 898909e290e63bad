"""What the penalties share: gradients of a discriminator at its inputs, with a graph for the double backward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def leaf(x: Tensor) -> Tensor:
    """x cut from whatever made it, ready to be differentiated by; one that is so already is itself."""
    return x if x.is_leaf and x.requires_grad else x.detach().requires_grad_(True)


def input_gradients(logits: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """∂ Σ logits / ∂ input for each input, flat: (n, size), differentiable once more.

    One call for several inputs is one backward pass. Logits are per example, so that the sum's
    gradient at example i is D's own gradient there.
    """
    total = torch.stack([each.sum() for each in logits]).sum()
    return [gradient.flatten(1) for gradient in torch.autograd.grad(total, inputs, create_graph=True)]


def squared_norm(gradient: Tensor) -> Tensor:
    """‖g‖² per example: (n, size) → (n,)."""
    return gradient.square().sum(1)


def norm(gradient: Tensor) -> Tensor:
    """‖g‖ per example, without an epsilon; where g = 0 the subgradient 0, never NaN."""
    return torch.linalg.vector_norm(gradient, dim=1)
