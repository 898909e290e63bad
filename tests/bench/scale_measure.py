"""Beyond these machines, part 3: what can be measured on one, as JSON: a CPU's rates, and the forms of the model.

    python tests/bench/scale_measure.py            one core, two processes for the exchange; about two minutes
    python tests/bench/scale_measure.py --gpu      the share of its roofline that a GPU here reaches, full width

tests/bench/scale_measured.json holds what the first command printed; the simulation reads its rates from there.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import scale_costs as costs
import scale_counts as counts
import torch
import torch.distributed as dist
import torch.multiprocessing
from PIL import Image
from scale_machines import A100, H100, V100, Machine
from torch import nn

from pipeline import plugins
from pipeline.contract import AnyFamily, Phase, Turn
from pipeline.data.batches import Reader
from pipeline.data.ordering import Ordering
from pipeline.data.packing import ingest
from pipeline.data.settings import IngestSettings
from pipeline.errors import UserError
from pipeline.formats.checkpoint import Checkpoint, CheckpointStore, load
from pipeline.storage import files
from pipeline.training.run_state import checksum
from pipeline.training.worlds import TorchWorld
from pipeline.types import DataSpec

MEASURED = Path(__file__).with_name("scale_measured.json")
SIDES, EXAMPLES = (128, 256), 1_281_167  # ImageNet's training set
SMALL, TINY = DataSpec("image", (3, 32, 32), tuple("0123456789")), DataSpec("image", (3, 8, 8))
MESSAGES = tuple(4**power * 16_384 for power in range(6))  # bytes: 16 KiB … 16 MiB


def least_seconds(*works: Callable[[], object], rounds: int = 9) -> list[float]:
    """Of each work the least over rounds, which take them in turn: what a busy machine does when it is left alone."""
    seconds: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, found in zip(works, seconds, strict=True):
            begin = time.perf_counter()
            work()
            if number:  # the first is not counted
                found.append(time.perf_counter() - begin)
    return [min(found) for found in seconds]


# --- the CPU's rates --------------------------------------------------------------------------


def reading(folder: Path, side: int, images: int = 192) -> dict[str, float]:
    """Pieces of two photographs as PNG in shards: bytes of one, seconds to decode one, seconds to take one decoded."""
    pieces = folder / f"pieces{side}"
    pieces.mkdir()
    for number, pixels in enumerate(photographs(side, images)):
        Image.fromarray(pixels).save(pieces / f"{number:04d}.png")
    source = {"name": "image_folder", "folder": str(pieces), "labels": "none"}
    shards = folder / f"shards{side}"
    manifest = ingest(IngestSettings.model_validate({"source": source, "holdout_fraction": 0.1}), shards)
    stored = sum(shard.bytes for shard in manifest.split("train").shards) / manifest.split("train").examples
    streamed = Reader(shards, "train")
    mapped = Reader(shards, "train", cache=folder / "cache", cache_budget=2**30)
    index = np.random.default_rng(0).permutation(len(streamed))[:128]
    decoding, taking = least_seconds(lambda: streamed.examples(index), lambda: mapped.examples(index), rounds=21)
    return {"stored_bytes": stored, "decode_seconds": decoding / 128, "take_seconds": taking / 128}


def photographs(side: int, count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Squares from scikit-learn's two photographs, uint8 (side, side, 3)."""
    from sklearn.datasets import load_sample_images

    source, images = np.random.default_rng(side), load_sample_images().images
    found: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    for number in range(count):
        image = images[number % len(images)]
        top, left = (int(source.integers(0, axis - side)) for axis in image.shape[:2])
        found.append(np.ascontiguousarray(image[top : top + side, left : left + side]))
    return found


def rates(folder: Path, size: int = 2**27) -> dict[str, float]:
    """Seconds a drawn number and an ordered example; bytes a second of hashes, and of checkpoints both ways."""
    source, orders = torch.Generator().manual_seed(0), iter(range(10**6))
    weights = {"weight": nn.Linear(size // 4096, 1024, bias=False)}
    tensors = {"networks": {"weight": weights["weight"].weight.detach()}}
    path = folder / "bytes"
    path.write_bytes(np.random.default_rng(0).bytes(size))
    store, clock = CheckpointStore(folder / "checkpoints"), iter(range(10**6))
    drawing, ordering, hashing, comparing, saving, loading = least_seconds(
        lambda: torch.randn(2**21, generator=source),
        lambda: Ordering(EXAMPLES, next(orders)).epoch(0),
        lambda: files.sha256_file(path),
        lambda: checksum(weights),
        lambda: store.save(Checkpoint(tensors, {"examples_seen": next(clock)}, [])),
        lambda: load(store.numbered()[-1]),
        rounds=21,
    )
    return {
        "draw_seconds": drawing / 2**21,
        "order_seconds": ordering / EXAMPLES,
        "sha256_rate": size / hashing,
        "parity_rate": size / comparing,
        "save_rate": size / saving,
        "load_rate": size / loading,
    }


# --- the forms of the model -------------------------------------------------------------------


def line(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """y = begin + x/rate with errors weighed relative to y: both, and the worst relative error."""
    weighed = np.array([[1 / b, a / b] for a, b in zip(x, y, strict=True)])
    begin, slope = np.linalg.lstsq(weighed, np.ones(len(y)), rcond=None)[0]
    worst = np.abs(weighed @ np.array([begin, slope]) - 1).max()
    return {"begin_seconds": float(begin), "rate": 1 / float(slope), "worst_error": float(worst)}


def steps(family: str, lanes: Sequence[int] = (8, 16, 32, 64)) -> dict[str, Any]:
    """Seconds of a small step (its every phase once) on one core, against its counted operations."""
    loaded = load_small(family, "zoo")
    networks = counts.build(loaded, SMALL, torch.device("cpu"))
    flops = [sum(phase.flops for phase in counts.count(loaded, SMALL, lane).phases) for lane in lanes]
    seconds = least_seconds(*(functools.partial(play_all, loaded, networks, SMALL, lane) for lane in lanes))
    return {"lanes": list(lanes), "flops": flops, "seconds": seconds, "line": line(flops, seconds)}


def launch_seconds() -> float:
    """Seconds of one operator where there is next to nothing to compute: an upper bound of what launching it costs."""
    loaded = load_small("stylegan2", "smoke")
    networks = counts.build(loaded, TINY, torch.device("cpu"))
    launches = sum(phase.launches for phase in counts.count(loaded, TINY, 4).phases)
    return least_seconds(functools.partial(play_all, loaded, networks, TINY, 4))[0] / launches


def load_small(family: str, preset: str) -> AnyFamily:
    """A preset that one core can train."""
    return cast(AnyFamily, plugins.load("families", {"name": family, "preset": preset}))


def play_all(family: AnyFamily, networks: Mapping[str, nn.Module], spec: DataSpec, lane: int) -> None:
    """Every phase once, on one lane."""
    for phase in family.phases():
        counts.play(family, counts.turn_of(family, networks, spec, phase, lane), phase)


def exchanges(folder: Path) -> dict[str, Any]:
    """Two processes over loopback: seconds of an exchange and of an all-reduce against the message's size."""
    torch.multiprocessing.spawn(_rank, (str(folder),), nprocs=2)  # pyright: ignore
    found: dict[str, list[float]] = json.loads((folder / "exchanges.json").read_text())
    return {"bytes": list(MESSAGES), **{name: {"seconds": s, "line": line(MESSAGES, s)} for name, s in found.items()}}


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    world = TorchWorld(torch.device("cpu"))
    messages = [torch.zeros(size // 4) for size in MESSAGES]
    found = {
        "exchange": least_seconds(*(functools.partial(world.exchange, each, 1 - rank) for each in messages), rounds=41),
        "all_reduce": least_seconds(*(functools.partial(world.all_reduce, each) for each in messages), rounds=41),
    }
    if rank == 0:
        (Path(folder) / "exchanges.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


# --- a GPU, where there is one ----------------------------------------------------------------


def gpu_share(family: str, preset: str, lane: int, machine: Machine) -> dict[str, float]:
    """Milliseconds an example at full width on the GPU here, and the share of the machine's roofline that is."""
    loaded, spec = counts.load_preset(family, preset)
    networks = counts.build(loaded, spec, torch.device("cuda"))
    counted = counts.count_preset(family, preset, lane)
    seconds = roof = 0.0
    for phase, found in zip(loaded.phases(), counted.phases, strict=True):
        turn = counts.turn_of(loaded, networks, spec, phase, lane)
        (turn_seconds,) = least_seconds(functools.partial(_synchronised, loaded, turn, phase))
        seconds += turn_seconds * found.repeats / found.every
        roof += costs.roofline(found, machine) * found.repeats / found.every
    return {"milliseconds": 1e3 * seconds / lane, "share": roof / seconds}


def _synchronised(family: AnyFamily, turn: Turn, phase: Phase) -> None:
    counts.play(family, turn, phase)
    torch.cuda.synchronize()


def on_gpu() -> dict[str, Any]:
    """Both models of docs/scale.md, on a GPU that scale_machines.py knows by its name.

    Raises:
        UserError: where there is none.
    """
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    known = [machine for machine in (V100, A100, H100) if machine.name.partition("×")[2] in name]
    if not known:
        raise UserError(f"--gpu: the rates of the GPU here ({name}) are not known; add them to scale_machines.py")
    models = (("biggan", "imagenet128", 32), ("stylegan2", "config_f256", 4))
    return {"gpu": name, **{model[0]: gpu_share(*model, known[0]) for model in models}}


# --- together -----------------------------------------------------------------------------------


def measure() -> dict[str, Any]:
    """Everything that needs no GPU."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="zerosum-scale-") as name:
        folder = Path(name)
        return {
            "where": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, one thread, "
            f"torch {torch.__version__}",
            "rates": rates(folder),
            "reading": {str(side): reading(folder, side) for side in SIDES},
            "exchanges": exchanges(folder),
            "steps": {family: steps(family) for family in ("biggan", "stylegan2")},
            "launch_seconds": launch_seconds(),
        }


def main() -> None:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true")
    arguments = parser.parse_args()
    try:
        found = on_gpu() if arguments.gpu else measure()
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(rounded(found), indent=2))


def rounded(value: Any) -> Any:
    """Numbers to four digits: the fifth is noise."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [rounded(each) for each in cast(list[Any], value)]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
