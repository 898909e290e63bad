"""Path length: a penalty on the generator's Jacobian, so no plug-in of this room, whose penalties see D."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def path_lengths(images: Tensor, ws: Tensor, generator: torch.Generator) -> Tensor:
    """‖Jᵀy‖ for each image (n,), y ~ N(0, 1)/√(H·W); ws (n, layers, width), the mean square over layers.

    Karras et al. 2020, section 3.2 and appendix B: an image that moves by as much for every small step
    in w has the same length everywhere. Differentiable once more. y is drawn on the CPU and moved.
    """
    pixels = math.prod(images.shape[2:])
    y = torch.randn(images.shape, generator=generator).to(images) / math.sqrt(pixels)
    (jacobian,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    return jacobian.square().sum(dim=2).mean(dim=1).sqrt()


def towards_mean(lengths: Tensor, mean: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """E[(length − a)²] with a = mean moved by `decay` towards these lengths' own mean; and a itself."""
    moved = mean.lerp(lengths.detach().mean(), decay)
    return (lengths - moved).square().mean(), moved
