"""Worlds of several ranks for tests: threads of this process, or real processes that speak gloo."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from pipeline.contract import World
from pipeline.training.worlds import TorchWorld


class ThreadWorld:
    """One rank of several, each a thread; a table and a gate take the network's place."""

    def __init__(self, rank: int, size: int, table: list[Tensor], gate: threading.Barrier) -> None:
        self.rank, self.size, self.device = rank, size, torch.device("cpu")
        self._table, self._gate = table, gate

    def gather(self, tensor: Tensor) -> list[Tensor]:
        self._table[self.rank] = tensor.clone()
        self._gate.wait()
        parts = [part.clone() for part in self._table]
        self._gate.wait()
        return parts

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        return self.gather(tensor)[partner]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return torch.stack(self.gather(tensor)).sum(0)

    def barrier(self) -> None:
        self._gate.wait()


def on_threads(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What `work` answers on each rank."""
    table, gate = [torch.empty(0)] * size, threading.Barrier(size, timeout=60)
    with ThreadPoolExecutor(size) as pool:
        ranks = [pool.submit(work, ThreadWorld(rank, size, table, gate)) for rank in range(size)]
        return [rank.result() for rank in ranks]


def on_processes(size: int, work: Callable[[World, Path], Any], folder: Path) -> list[Any]:
    """What `work` answers (as JSON) on each of `size` processes; `work` is a module's function."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.multiprocessing.spawn(_rank, (size, work, str(folder)), nprocs=size)  # pyright: ignore
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(size)]


def _rank(rank: int, size: int, work: Callable[[World, Path], Any], folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    meeting = Path(folder) / "meeting"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    answer = work(TorchWorld(torch.device("cpu")), Path(folder))
    (Path(folder) / f"rank{rank}.json").write_text(json.dumps(answer))
    dist.barrier()
    dist.destroy_process_group()
