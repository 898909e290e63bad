"""The world of a torch.distributed process group: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


class TorchWorld:
    """Rank, size and the two ways ranks speak, over the default process group.

    The group must be up: Ray Train, torchrun or a test has initialised it.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.device = device

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        """Swap equal-shaped tensors with `partner`; both sides post before either waits."""
        received = torch.empty_like(tensor)
        operations = [dist.P2POp(dist.isend, tensor, partner), dist.P2POp(dist.irecv, received, partner)]
        if self.rank > partner:
            operations.reverse()
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        return received

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in the order the backend likes."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's tensor, in rank order."""
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor)
        return parts

    def barrier(self) -> None:
        """Wait for every rank."""
        dist.barrier()
