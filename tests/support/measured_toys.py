"""Small worlds, data and families for the rooms that measure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.contract import Family, Latent, LatentSpec, LocalWorld, Networks, Player, World
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (1, 8, 8), ("left", "right"))


class Halves:
    """Noisy images, bright on the side that their class names."""

    def __init__(self, count: int, seed: int, spec: DataSpec = SPEC) -> None:
        self.spec = spec
        draw = np.random.default_rng(seed)
        self.labels = (np.arange(count) % 2).astype(np.int64)
        self.x = draw.integers(0, 100, (count, *spec.shape), dtype=np.uint8)
        width = spec.shape[-1] // 2
        self.x[self.labels == 0, ..., :width] += 100
        self.x[self.labels == 1, ..., width:] += 100

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        return {"x": self.x[indices], "label": self.labels[indices]}


class ToyConfig(Settings):
    pass


class Toy(Family[ToyConfig]):
    """A linear generator with batch normalisation and, if asked, one bright side per label."""

    paper = "none"

    def __init__(self, conditional: bool = True) -> None:
        super().__init__(ToyConfig())
        self.asked = conditional

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.asked else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (6,)),)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        return {"generator": nn.Sequential(nn.Linear(6, spec.size), nn.BatchNorm1d(spec.size), nn.Tanh())}

    def players(self) -> tuple[Player, ...]:
        return ()

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        x = networks["generator"](latents["z"] * truncation).reshape(-1, *SPEC.shape) / 2
        if "label" in condition:
            side = condition["label"].reshape(-1, 1, 1, 1) * 2 - 1
            x = x + side * torch.linspace(-0.4, 0.4, 8)
        return x


class ThreadWorld:
    """One rank of several, each a thread of this process."""

    def __init__(self, rank: int, size: int, table: list[Tensor | None], gate: threading.Barrier) -> None:
        self.rank, self.size, self.device = rank, size, torch.device("cpu")
        self._table, self._gate = table, gate

    def gather(self, tensor: Tensor) -> list[Tensor]:
        self._table[self.rank] = tensor
        self._gate.wait()
        found = [part for part in self._table if part is not None]
        self._gate.wait()
        return found

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        raise AssertionError("scoring speaks by `gather` alone")

    def all_reduce(self, tensor: Tensor) -> Tensor:
        raise AssertionError("scoring speaks by `gather` alone")

    def barrier(self) -> None:
        self._gate.wait()


def on_ranks(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What `work` answers on each of `size` ranks."""
    if size == 1:
        return [work(LocalWorld())]
    table: list[Tensor | None] = [None] * size
    gate = threading.Barrier(size, timeout=60)
    answers: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            answers[rank] = work(ThreadWorld(rank, size, table, gate))
        except BaseException:
            gate.abort()
            raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def toy_networks(family: Family[Any]) -> dict[str, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return family.build(SPEC)
