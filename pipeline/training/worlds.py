"""The world of a torch.distributed process group: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor


class TorchWorld:
    """Rank, size and the two ways ranks speak, over a process group: the default one, or some of its ranks.

    The default group must be up: Ray Train, torchrun or a test has initialised it.
    """

    def __init__(self, device: torch.device, group: dist.ProcessGroup | None = None) -> None:
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self.device = device
        self._group = group

    @classmethod
    def sharing(cls, lanes: int, device: torch.device, timeout: float | None = None) -> TorchWorld | None:
        """The first ranks, as many as share the lanes evenly; None on a rank that is left over.

        Every rank of the default group has to call it. `lanes` is a power of two, and so are the ranks that work.
        timeout: seconds that a rank waits for another; a group of some does not take over the default one's.
        """
        size = dist.get_world_size()
        working = min(lanes, 1 << (size.bit_length() - 1))
        if working == size:
            return cls(device)
        group = dist.new_group(list(range(working)), timeout=timedelta(seconds=timeout) if timeout else None)
        return cls(device, cast("dist.ProcessGroup", group)) if dist.get_rank() < working else None

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        """Swap equal-shaped tensors with `partner`; both sides post before either waits."""
        received = torch.empty_like(tensor)
        operations = [
            dist.P2POp(operation, part, group=self._group, group_peer=partner)
            for operation, part in ((dist.isend, tensor), (dist.irecv, received))
        ]
        if self.rank > partner:
            operations.reverse()
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        return received

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in the order the backend likes."""
        total = tensor.clone()
        dist.all_reduce(total, group=self._group)
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's tensor, in rank order."""
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor, group=self._group)
        return parts

    def barrier(self) -> None:
        """Wait for every rank."""
        dist.barrier(group=self._group)
