"""One rank of a small training, a process that chaos starts, stops and kills: `rank.py <settings.json> <rank>`.

It writes how far it is to `<folder>/progress`, and at its end the sha256 of the averaged weights to `<folder>/result`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import poison
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from pipeline import plugins
from pipeline.contract import MemoryReporter, Record, World
from pipeline.errors import TrainingFailed, UserError
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.formats.remote_checkpoints import MirroredStore
from pipeline.storage import files
from pipeline.storage.store import Store
from pipeline.training.loop import RunParts, fit
from pipeline.training.settings import TrainSettings
from pipeline.training.worlds import TorchWorld
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (1, 8, 8), ("a", "b", "c"))
SIZES: dict[str, dict[str, Any]] = {
    "dcgan": {
        "preset": "digits",
        "generator_width": 4,
        "discriminator_width": 4,
        "latent": 6,
        "penalties": {"r1": {"every": 2}},
    },
    "r3gan": {"preset": "small", "widths": [8, 8, 8], "groups": [4, 2, 2], "conditional": True},
}
SETTINGS: dict[str, Any] = {"batch_size": 16, "lanes": 4, "tick": 64, "grid": 10**9}


class Data:
    """The same random examples in a repeating order."""

    def __init__(self, count: int = 96) -> None:
        source = torch.Generator().manual_seed(7)
        self._x = torch.rand((count, *SPEC.shape), generator=source) * 2 - 1

    def batch(self, position: int, start: int, stop: int, device: torch.device | str = "cpu") -> Batch:
        index = (torch.arange(start, stop) + position) % len(self._x)
        return {"x": self._x[index].to(device), "label": (index % 3).to(device)}


class Teller(MemoryReporter):
    """Writes down how far the training is, and what it notes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def tick(self, record: Record) -> None:
        files.write_bytes(self._folder / "progress", str(record["examples_seen"]).encode())

    def note(self, message: str) -> None:
        with (self._folder / "notes").open("a") as file:
            file.write(message + "\n")


def main(path: str, rank: str) -> int:
    told: dict[str, Any] = json.loads(Path(path).read_text())
    folder = Path(told["folder"])
    torch.set_num_threads(1)
    if told["clock"]:
        real = time.time
        time.time = lambda: real() + told["clock"]  # a machine whose clock is wrong
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{told['meeting']}",
        rank=int(rank),
        world_size=told["ranks"],
        timeout=timedelta(seconds=told["timeout"]),
    )
    # To ranks that still connect, one that is left over and ends at once would look like one that died. (Ray's stay.)
    dist.barrier()
    files.write_bytes(Path(f"{told['meeting']}.met"), b"")
    world = TorchWorld.sharing(SETTINGS["lanes"], torch.device("cpu"), told["timeout"])
    if world is None:
        return 0
    try:
        work(told, world, folder)
    except (TrainingFailed, UserError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    except (OSError, SafetensorError) as error:
        if not files.disk_is_full(error):
            raise
        print(f"the disk is full: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def work(told: dict[str, Any], world: World, folder: Path) -> None:
    family = plugins.load("families", {"name": told["family"], **SIZES[told["family"]]})
    poison.poisoned(family, told, world)
    own = {name: told[name] for name in ("family", "examples", "checkpoint")}
    settings = TrainSettings.model_validate({**SETTINGS, **own})
    scratch = folder / "scratch"
    store = CheckpointStore(scratch / "checkpoints", 2)
    if told["storage"]:
        store = MirroredStore(scratch, 2, Store(told["storage"]))
    outcome = fit(RunParts(settings, family, SPEC, Data(), world, Teller(folder), store))
    if world.rank == 0:
        found = save({key: value.contiguous() for key, value in sorted(weights(outcome.networks).items())})
        files.write_bytes(folder / "result", files.sha256_bytes(found).encode())


def weights(networks: Any) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": tensor for name, network in networks.items() for key, tensor in network.state_dict().items()
    }


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2])
    sys.stderr.flush()
    # Gloo's threads may wait for ranks that are gone.
    os._exit(code)
