"""The exponential moving average of networks, with half-life and ramp in examples (Karras et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.contract import Networks
from pipeline.training.settings import Averaging


class Average:
    """Averaged copies of some networks; weights and float buffers move, the rest is copied.

    BatchNorm's running statistics are averaged with the weights they belong to: with the live
    statistics, averaged weights would be normalised by numbers that are not theirs.
    """

    def __init__(self, networks: Networks, names: Sequence[str], settings: Averaging) -> None:
        self.settings = settings
        self.networks: dict[str, nn.Module] = {
            name: copy.deepcopy(networks[name]).eval().requires_grad_(False) for name in names
        }
        self._moving: list[tuple[Tensor, Tensor]] = []
        self._copied: list[tuple[Tensor, Tensor]] = []
        for name in names:
            live = dict(networks[name].state_dict(keep_vars=True))
            for key, averaged in self.networks[name].state_dict(keep_vars=True).items():
                pair = (averaged, live[key])
                (self._moving if averaged.is_floating_point() else self._copied).append(pair)

    @torch.no_grad()
    def update(self, examples_seen: int, examples: int) -> None:
        """Move towards the live networks by one step of `examples` examples."""
        if not self._moving:
            return
        half_life = self.settings.half_life
        if self.settings.ramp is not None:
            half_life = min(half_life, examples_seen * self.settings.ramp)
        keep = 0.5 ** (examples / max(half_life, 1e-8))
        torch._foreach_lerp_([pair[0] for pair in self._moving], [pair[1] for pair in self._moving], 1 - keep)
        for averaged, live in self._copied:
            averaged.copy_(live)
