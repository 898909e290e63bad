"""VGAN, Vondrick et al. 2016: a still background, a moving foreground and a mask between them; a stack that judges."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.networks.blocks.strided_stacks import StackPlan, UpwardStack


class TwoStreamGenerator(nn.Module):
    """Noise (n, inputs) and label (n,) → video (n, C, T, H, W) in [−1, 1]: m · f + (1 − m) · b.

    b (n, C, 1, H, W), still, is a two-dimensional stack's tanh; f (n, C, T, H, W) the tanh of a three-dimensional one's
    first C maps, m (n, 1, T, H, W) the sigmoid of its last: one convolution makes both.
    """

    def __init__(self, plan: StackPlan, inputs: int) -> None:
        super().__init__()
        self.still = UpwardStack(replace(plan, base=plan.base[1:]), inputs)
        self.moving = UpwardStack(replace(plan, channels=plan.channels + 1), inputs)

    def parts(self, z: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The video, and its mask m."""
        behind = torch.tanh(self.still.maps(z, label)).unsqueeze(2)
        maps = self.moving.maps(z, label)
        front, mask = torch.tanh(maps[:, :-1]), torch.sigmoid(maps[:, -1:])
        return mask * front + (1 - mask) * behind, mask

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.parts(z, label)[0]
