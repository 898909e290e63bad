"""CUT, Park et al. 2020: a small perceptron for each layer of the encoder, and the contrast of patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPSILON = 1e-7


class PatchProjector(nn.Module):
    """Features at chosen places of chosen layers → unit vectors, by two linear layers for each layer (section 3)."""

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(maps, width), nn.ReLU(), nn.Linear(width, width)) for maps in channels
        )

    def forward(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        """Each layer's (n, c, h, w) at its places (p,), numbered along rows → (n, p, width) of length 1."""
        found: list[Tensor] = []
        for layer, maps, chosen in zip(self.layers, features, places, strict=True):
            projected = layer(maps.flatten(2)[:, :, chosen].transpose(1, 2))
            found.append(projected / (projected.norm(dim=2, keepdim=True) + NORM_EPSILON))
        return found


def draw_places(features: Sequence[Tensor], patches: int, source: torch.Generator) -> list[Tensor]:
    """For each layer up to `patches` different places of h·w, equal for all images; drawn on the CPU."""
    return [
        torch.randperm(maps.shape[2] * maps.shape[3], generator=source)[:patches].to(maps.device) for maps in features
    ]


def patch_contrast(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Equation 3, the mean over images and patches of −log softmax(q·k / τ) at each query's own key; a scalar.

    queries, keys: (n, p, width). The negatives are the other patches of the same image. Keys get no gradient.
    """
    logits = queries @ keys.detach().transpose(1, 2) / temperature
    own = torch.arange(keys.shape[1], device=keys.device).expand(len(keys), -1)
    return F.cross_entropy(logits.flatten(0, 1), own.flatten())
