"""What one core of this machine does, for `scale.py --measure`."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scale import MEASURED, MODELS, UNITS
from sklearn.datasets import load_sample_images
from torch import nn

from pipeline.data.batches import Reader
from pipeline.data.ordering import Ordering
from pipeline.data.packing import ingest
from pipeline.data.settings import IngestSettings
from pipeline.formats.checkpoint import Checkpoint, CheckpointStore, load
from pipeline.storage import files
from pipeline.training.run_state import checksum


def least(work: Callable[[], object], rounds: int = 21) -> float:
    """Seconds of the quickest round: what a busy machine does when it is left alone."""
    taken: list[float] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def measure(sides: Sequence[int] = (128, 256), size: int = 2**27, images: int = 192) -> dict[str, Any]:
    """The content of scale_measured.json: hashes and checkpoints of `size` bytes, PNGs of these sides."""
    torch.set_num_threads(1)
    source, weights = torch.Generator().manual_seed(0), {"weight": nn.Linear(size // 4096, 1024, bias=False)}
    tensors = {"networks": {"weight": weights["weight"].weight.detach()}}
    clock, examples = iter(range(10**6)), MODELS[0]["examples"]
    with tempfile.TemporaryDirectory(prefix="zerosum-scale-") as name:
        folder = Path(name)
        (folder / "bytes").write_bytes(np.random.default_rng(0).bytes(size))
        store = CheckpointStore(folder / "checkpoints")
        found = {
            "draws": 2**21 / least(lambda: torch.randn(2**21, generator=source)),
            "orders": examples / least(lambda: Ordering(examples, next(clock)).epoch(0)),
            "sha256": size / least(lambda: files.sha256_file(folder / "bytes")),
            "parity": size / least(lambda: checksum(weights)),
            "save": size
            / least(lambda: store.save(Checkpoint(tensors, {"began": 0, "examples_seen": next(clock)}, []))),
            "load": size / least(lambda: load(store.numbered()[-1])),
        }
        for side in sides:
            found |= {f"{key}_{side}": value for key, value in reading(folder / str(side), side, images).items()}
    kept = {key: row for key, row in MEASURED["numbers"].items() if key in found}
    rows = {key: row | {"value": float(f"{found[key] / UNITS[row['unit']]:.4g}")} for key, row in kept.items()}
    where = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, one thread, torch {torch.__version__}"
    return {"where": where, "numbers": rows}


def reading(folder: Path, side: int, images: int) -> dict[str, float]:
    """PNG pieces of photographs in shards: bytes of one, and how many a second are decoded, or taken when decoded."""
    chance, photographs = np.random.default_rng(side), load_sample_images().images
    (folder / "pieces").mkdir(parents=True)
    for number in range(images):
        photograph = photographs[number % len(photographs)]
        top, left = (int(chance.integers(0, axis - side)) for axis in photograph.shape[:2])
        piece = Image.fromarray(np.ascontiguousarray(photograph[top : top + side, left : left + side]))
        piece.save(folder / "pieces" / f"{number:04d}.png")
    source = {"name": "image_folder", "folder": str(folder / "pieces"), "labels": "none"}
    settings = IngestSettings.model_validate({"source": source, "holdout_fraction": 0.1})
    train = ingest(settings, folder / "shards").split("train")
    plain = Reader(folder / "shards", "train")
    cached = Reader(folder / "shards", "train", cache=folder / "cache", cache_budget=2**30)
    index = np.random.default_rng(0).permutation(train.examples)[:128]
    return {
        "stored": sum(shard.bytes for shard in train.shards) / train.examples,
        "decoded": len(index) / least(lambda: plain.examples(index)),
        "taken": len(index) / least(lambda: cached.examples(index)),
    }
