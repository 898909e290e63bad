"""Independent tasks over Ray's workers, answers in the order of the tasks."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.data import shard_files
from pipeline.errors import TrainingFailed
from pipeline.storage.node_cache import LEAST, NodeCache, node_folder
from pipeline.storage.store import Store

Task = TypeVar("Task")
Answer = TypeVar("Answer")

NODE = re.compile(r"node:(?!__)")  # each node's own resource, and not the mark of the head


def in_order(
    function: Callable[[Task], Answer], tasks: Iterable[Task], weight: Callable[[Task], int] = lambda task: 0
) -> Iterator[Answer]:
    """`map` over the Ray that is up; at most two tasks a CPU are under way.

    weight: bytes that a task takes along; bytes in flight are limited to half of one node's object store, or one task.

    Raises:
        what `function` raises, as itself.
        TrainingFailed: if the workers with a task die, again and again.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    def run(task: Task) -> Answer:
        # Ray takes functions alone, and `function` may be an object that holds what every task needs.
        return function(task)

    def oldest() -> Answer:
        try:
            return ray.get(under_way.popleft()[0])
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            said = " ".join(str(error).split())
            raise TrainingFailed(f"the workers that had one task have died, each in turn: {said}") from None

    remote = ray.remote(run)
    under_way: deque[tuple[Any, int]] = deque()
    for task in tasks:
        mine = weight(task)
        while under_way and not _room(len(under_way), mine + sum(each for _, each in under_way)):
            yield oldest()
        under_way.append((remote.remote(task), mine))
    while under_way:
        yield oldest()


def _room(tasks: int, weight: int) -> bool:
    """True if another task may be submitted, given the tasks and bytes in flight and the nodes that are there now."""
    import ray

    found: Mapping[str, float] = ray.cluster_resources()
    nodes = max(1, sum(bool(NODE.match(name)) for name in found))
    return tasks < 2 * found.get("CPU", 1) and weight <= found.get("object_store_memory", 0) / nodes / 2


@dataclass(frozen=True)
class OverStore:
    """`in_order` for nodes that share no folder: each path of `root` that a function holds goes by the store.

    store: its URI. work: what is only a cache; on each node another folder stands for it. budget: bytes that a node
    keeps of what it has fetched.

    Raises:
        UserError: if the store does not answer.
    """

    store: str
    root: Path
    work: Path
    budget: int

    def __call__(self, function: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterable[Answer]:
        met: set[str] = set()

        def moved(path: Path) -> str | None:
            if path.is_relative_to(self.work):
                return f"work/{path.relative_to(self.work)}"
            if path.is_relative_to(self.root):
                met.add(str(path.relative_to(self.root)))
                return f"inputs/{path.relative_to(self.root)}"
            return None

        packed = _packed(function, moved)
        sent = Store(self.store).push(self.root, sorted(met), shard_files.held(self.root, met, self.store))
        return in_order(_Sent(packed, self.store, sent, self.budget), tasks)


@dataclass(frozen=True)
class _Sent:
    """A function whose paths are names; it is made whole on the node, once for each process."""

    packed: bytes
    store: str
    inputs: str
    budget: int

    def __call__(self, task: Any) -> Any:
        if self not in _whole:
            found = NodeCache(max(self.budget, LEAST)).get(Store(self.store), self.inputs)
            _whole.clear()
            _whole[self] = _unpacked(self.packed, {"inputs": found, "work": node_folder() / "decoded"})
        return _whole[self](task)


_whole: dict[_Sent, Callable[[Any], Any]] = {}


def _packed(function: Any, moved: Callable[[Path], str | None]) -> bytes:
    """The function for its journey, with names in place of the paths that `moved` has one for."""
    from ray import cloudpickle

    class Pickler(cloudpickle.CloudPickler):
        def persistent_id(self, obj: Any) -> str | None:
            return moved(obj) if isinstance(obj, Path) else None

    buffer = io.BytesIO()
    Pickler(buffer).dump(function)
    return buffer.getvalue()


def _unpacked(packed: bytes, places: Mapping[str, Path]) -> Any:
    """What `_packed` made, with each name a path of this machine."""
    import pickle

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: str) -> Path:
            place, _, rest = pid.partition("/")
            return places[place] / rest

    return Unpickler(io.BytesIO(packed)).load()
