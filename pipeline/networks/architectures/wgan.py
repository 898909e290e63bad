"""WGAN, Arjovsky et al. 2017: DCGAN's stacks or perceptrons, and a critic whose weights are clipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.networks.blocks.perceptron import ReluPerceptron
from pipeline.networks.blocks.strided_stacks import DownwardStack, UpwardStack
from pipeline.networks.layers.embedding import LabelVector


class EmbeddingGenerator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W); strided in [−1, 1], the perceptron unbounded.

    embedding: numbers of a table's row that a label adds to the noise.
    """

    def __init__(
        self, stack: UpwardStack | ReluPerceptron, shape: tuple[int, ...], classes: int, embedding: int
    ) -> None:
        super().__init__()
        self.label = LabelVector(classes, "embedding", embedding)
        self.stack = stack
        self.shape = shape

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stack(torch.cat([z, self.label(label, z)], dim=1)).view(-1, *self.shape)


class ClippedCritic(nn.Module):
    """x (n, C, H, W) and label (n,) → scores (n,); its weights are clipped in `advance`.

    The loop calls `advance` before each turn in which the critic is in training mode: before every step
    of its own, as main.py does, and before the generator's, which main.py leaves to the next step.
    """

    def __init__(self, stack: DownwardStack | ReluPerceptron, classes: int, clip: float | None) -> None:
        super().__init__()
        self.label = LabelVector(classes if isinstance(stack, ReluPerceptron) else 0)
        self.stack = stack
        self.clip = clip

    @torch.no_grad()
    def advance(self) -> None:
        """Every parameter, batch norm's among them, into ±clip."""
        if self.clip is not None:
            for parameter in self.parameters():
                parameter.clamp_(-self.clip, self.clip)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        if isinstance(self.stack, DownwardStack):
            return self.stack(x, label)
        return self.stack(torch.cat([x.flatten(1), self.label(label, x)], dim=1)).flatten()
