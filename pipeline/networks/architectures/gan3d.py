"""3D-GAN, Wu et al. 2016: DCGAN's stacks in three dimensions, with an occupancy between 0 and 1 at their ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.networks.blocks.strided_stacks import DownwardStack, StackPlan, UpwardStack


class VoxelGenerator(nn.Module):
    """Noise (n, inputs) in (−1, 1) and label (n,) → (n, C, D, H, W): the occupancy σ(a) of [0, 1] carried to [−1, 1].

    The stack sees the noise in (0, 1), as the authors draw it.
    """

    def __init__(self, plan: StackPlan, inputs: int) -> None:
        super().__init__()
        self.stack = UpwardStack(plan, inputs)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.tanh(0.5 * self.stack.maps((z + 1) / 2, label))  # 2σ(a) − 1


class VoxelDiscriminator(nn.Module):
    """x (n, C, D, H, W) in [−1, 1] and label (n,) → logits (n,); the stack sees the occupancy, in [0, 1]."""

    def __init__(self, plan: StackPlan) -> None:
        super().__init__()
        self.stack = DownwardStack(plan)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stack((x + 1) / 2, label)
