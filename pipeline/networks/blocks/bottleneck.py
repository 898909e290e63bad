"""BigGAN-deep's residual blocks: four convolutions through a quarter of the maps, shortcuts without weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.blocks.residual import MakeNorm, Recipe
from pipeline.networks.layers.norm import normalise
from pipeline.networks.layers.resample import Upsampling, mean_pool, upsample

RATIO = 4


class DeepGeneratorBlock(nn.Module):
    """1×1, 3×3, 3×3, 1×1, each after norm and relu; the shortcut keeps the first `outputs` maps.

    (n, inputs, h, w) → (n, outputs, h, w), or (n, outputs, 2h, 2w) where it doubles; outputs ≤ inputs.
    """

    def __init__(self, inputs: int, outputs: int, recipe: Recipe, make_norm: MakeNorm, doubles: bool) -> None:
        super().__init__()
        self.outputs = outputs
        self.doubles = doubles
        self.upsampling: Upsampling = recipe.upsampling
        layers = recipe.layers
        hidden = max(1, inputs // RATIO)
        self.conv1 = layers.conv(inputs, hidden, 1)
        self.conv2 = layers.conv(hidden, hidden, 3)
        self.conv3 = layers.conv(hidden, hidden, 3)
        self.conv4 = layers.conv(hidden, outputs, 1)
        self.norm1 = make_norm(inputs)
        self.norm2 = make_norm(hidden)
        self.norm3 = make_norm(hidden)
        self.norm4 = make_norm(hidden)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        y = self.conv1(F.relu(normalise(self.norm1, x, condition)))
        y = F.relu(normalise(self.norm2, y, condition))
        x = x[:, : self.outputs]
        if self.doubles:
            y, x = upsample(y, self.upsampling), upsample(x, self.upsampling)
        y = self.conv2(y)
        y = self.conv3(F.relu(normalise(self.norm3, y, condition)))
        return x + self.conv4(F.relu(normalise(self.norm4, y, condition)))


class DeepDiscriminatorBlock(nn.Module):
    """1×1, 3×3, 3×3, 1×1 after relus; the shortcut is x with a 1×1 of it for the maps that are new.

    (n, inputs, h, w) → (n, outputs, h, w), or half of h and w where it halves; outputs ≥ inputs.
    """

    def __init__(self, inputs: int, outputs: int, recipe: Recipe, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        layers = recipe.layers
        hidden = max(1, outputs // RATIO)
        self.conv1 = layers.conv(inputs, hidden, 1)
        self.conv2 = layers.conv(hidden, hidden, 3)
        self.conv3 = layers.conv(hidden, hidden, 3)
        self.conv4 = layers.conv(hidden, outputs, 1)
        self.shortcut = layers.conv(inputs, outputs - inputs, 1) if outputs != inputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(F.relu(x))))
        y = F.relu(self.conv3(F.relu(y)))
        if self.halves:
            y, x = mean_pool(y), mean_pool(x)
        if self.shortcut is not None:
            x = torch.cat([x, self.shortcut(x)], dim=1)
        return x + self.conv4(y)
