"""In-training scores beside training: snapshots of the average go to disk, somebody scores them, answers come back.

A snapshot stays until its answer stands beside it, so a run that is killed and started again asks only
for what is missing. Names hold the attempt: after a roll-back the same clock shows another network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.contract import LocalWorld, Networks, Record, World
from pipeline.errors import TrainingFailed
from pipeline.storage import files

Wait = Callable[[], None]
Start = Callable[[Path], Wait]
"""Have the snapshot at a path scored, called by every rank; what it returns waits for `answer_of(path)`."""

Key = tuple[int, int]  # attempt, examples seen
Scores = Mapping[str, float]


class Snapshots:
    """Asks for scores and hands out those that have arrived. Rank 0 decides, writes and reads; all ranks ask."""

    def __init__(self, folder: Path, start: Start, objective: str = "frechet", world: World | None = None) -> None:
        self._folder = folder
        self._start = start
        self._objective = objective
        self._world = world or LocalWorld()
        self._waiting: dict[Key, Wait] = {}

    def submit(self, networks: Networks, attempt: int, examples_seen: int) -> None:
        """Write a snapshot and have it scored. Takes as long as writing the averaged weights does."""
        path = self._path((attempt, examples_seen))
        if self._world.rank == 0 and not answer_of(path).exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors = {
                f"{name}/{key}": tensor.detach().cpu().contiguous()
                for name, network in networks.items()
                for key, tensor in network.state_dict().items()
            }
            with files.replacing(path) as temporary:
                save_file(tensors, temporary)
        self._ask([(attempt, examples_seen)])

    def resume(self, records: Iterable[Record]) -> None:
        """Ask again for what these records of the history still lack, where a snapshot was left."""
        self._waiting.clear()
        self._ask([key_of(record) for record in records if self._objective not in record])

    def arrived(self, wait: bool = False) -> Iterator[tuple[Key, Scores]]:
        """The answers not handed out yet, oldest first; with `wait`, all that were asked for.

        Raises:
            TrainingFailed: if one of them will not come.
        """
        for key in sorted(self._waiting):
            path = answer_of(self._path(key))
            if wait and not path.exists():
                self._waiting[key]()
            if path.exists():
                del self._waiting[key]
                yield key, json.loads(path.read_text(encoding="utf-8"))
            elif wait:
                raise TrainingFailed(f"the snapshot at {key[1]:,} examples was not scored; run it again")

    def _ask(self, keys: Sequence[Key]) -> None:
        """For those that rank 0 finds a snapshot of, and no answer yet."""
        if not keys:
            return
        found = [(self._path(key).exists(), answer_of(self._path(key)).exists()) for key in keys]
        decided = self._world.gather(torch.tensor(found, dtype=torch.uint8, device=self._world.device))[0].tolist()
        for key, (snapshot, answer) in zip(keys, decided, strict=True):
            if answer:
                self._waiting[key] = lambda: None
            elif snapshot:
                self._waiting[key] = self._start(self._path(key))

    def _path(self, key: Key) -> Path:
        return self._folder / f"{key[0]:03d}-{key[1]:012d}.safetensors"


def key_of(record: Record) -> Key:
    """Which snapshot a record of the history belongs to."""
    return int(record.get("attempt") or 0), int(record.get("examples_seen") or 0)


def answer_of(snapshot: Path) -> Path:
    """Where the scores of a snapshot are written."""
    return snapshot.with_suffix(".json")


def write_answer(snapshot: Path, scores: Scores) -> None:
    """The scores first, then the snapshot is not needed any more."""
    files.write_json(answer_of(snapshot), dict(scores))
    snapshot.unlink(missing_ok=True)
