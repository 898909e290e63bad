"""Where a training runs, and how progress and scores leave the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from pipeline.contract.turns import Networks


class World(Protocol):
    """Rank, size and device, and the two ways ranks speak; every call is made by every rank."""

    rank: int
    size: int
    device: torch.device

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        """Send `tensor` to `partner` and return what it sent: same shape, same type."""
        ...

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over ranks in the backend's own order (`reduction: fast`)."""
        ...

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's tensor, in rank order, on every rank; shapes must be equal."""
        ...

    def barrier(self) -> None: ...


class LocalWorld:
    """The world of one process."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.rank = 0
        self.size = 1
        self.device = torch.device(device)

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        raise RuntimeError(f"a world of one has no rank {partner} to exchange with")

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather(self, tensor: Tensor) -> list[Tensor]:
        return [tensor]

    def barrier(self) -> None:
        return None


Record = dict[str, float | int | str | None]


class Reporter(Protocol):
    """How progress leaves the loop. Called on rank 0 only."""

    def tick(self, record: Record) -> None:
        """One line of progress: plain floats, ints and strings.

        A score stands in the record of the reading it belongs to. One that was made beside training and comes at a
        later tick is named with the examples of its reading: `frechet@640`.
        """
        ...

    def note(self, message: str) -> None:
        """Something a person should read once: a resume, a roll-back, a warning."""
        ...


class MemoryReporter:
    """Keeps what it is told: for tests, and for callers that want the history."""

    def __init__(self) -> None:
        self.ticks: list[Record] = []
        self.notes: list[str] = []

    def tick(self, record: Record) -> None:
        self.ticks.append(record)

    def note(self, message: str) -> None:
        self.notes.append(message)


class Scorer(Protocol):
    """Scores the averaged networks during training; called by every rank, answers on every rank."""

    def __call__(self, networks: Networks, world: World) -> Mapping[str, float]: ...
