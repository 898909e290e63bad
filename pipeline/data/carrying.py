"""Tasks of ingest for machines that see neither the source's files nor the folder of the shards.

The task carries its raw items; the worker returns the finished shard as bytes. `loaded` and `delivered` are
for where the files are, `AnsweredAfar` for where the work is done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipeline.data.packing import PackTask
from pipeline.data.scanning import ScanTask
from pipeline.data.source import DataSource, Entry, Limits
from pipeline.errors import BrokenArtefact, Rejected
from pipeline.storage import files
from pipeline.types import Array, Column, Modality

Task = TypeVar("Task", ScanTask, PackTask)


class Carried(DataSource[Any]):
    """A source with what it fetched of some entries, or why it could not: to read these it opens no file.

    All but fetching is done by that source.
    """

    def __init__(self, source: DataSource[Any], stored: dict[Entry, Any]) -> None:
        super().__init__(source.given)
        self._source, self._stored = source, stored
        self.fields, self.may_be_empty = source.fields, source.may_be_empty

    @property
    def modality(self) -> Modality:
        return self._source.modality

    @property
    def dtype(self) -> Literal["uint8", "float32"]:
        return self._source.dtype

    @property
    def frames(self) -> int | None:
        return self._source.frames

    def decode(self, stored: Any, limits: Limits) -> Array:
        return self._source.decode(stored, limits)

    def decode_fields(self, stored: Any, limits: Limits) -> dict[str, Array]:
        return self._source.decode_fields(stored, limits)

    def columns(self) -> tuple[Column, ...]:
        return self._source.columns()

    def label_column(self) -> tuple[str, int] | None:
        return self._source.label_column()

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        return self._source.passed_over()

    def describe(self) -> dict[str, Any]:
        return self._source.describe()

    def __reduce__(self) -> tuple[Any, ...]:
        return Carried, (self._source, self._stored)

    @property
    def bytes(self) -> int:
        """About what it weighs on its way."""
        return sum(_weight(stored) for stored in self._stored.values())

    def classes(self) -> tuple[str, ...]:
        return self._source.classes()

    def entries(self) -> list[Entry]:
        return list(self._stored)

    def fetch(self, entry: Entry, limits: Limits) -> Any:
        stored = self._stored[entry]
        if isinstance(stored, Rejected):
            raise stored
        return stored


def loaded(task: Task) -> Task:
    """The task with what its entries are stored as."""
    stored = {entry: fetched(task.source, entry, task.settings.limits) for entry in task.entries if not entry.problem}
    return replace(task, source=Carried(task.source, stored))


def fetched(source: DataSource[Any], entry: Entry, limits: Limits) -> Any:
    """What an entry is stored as, or the `Rejected` that says why it cannot be used."""
    try:
        return source.fetch(entry, limits)
    except Rejected as problem:
        return problem


def weight(task: ScanTask | PackTask) -> int:
    """Bytes of a loaded task, about."""
    return task.source.bytes if isinstance(task.source, Carried) else 0


@dataclass(frozen=True)
class AnsweredAfar:
    """`scan` or `pack_shard` for loaded tasks; beside its answer, the bytes of the shard if it wrote one."""

    function: Callable[[Any], Any]

    def __call__(self, task: ScanTask | PackTask) -> tuple[Any, bytes]:
        if isinstance(task, ScanTask):
            return self.function(task), b""
        with tempfile.TemporaryDirectory(prefix="zerosum-") as folder:
            path = Path(folder) / task.path.name
            return self.function(replace(task, path=path)), path.read_bytes()


def delivered(task: ScanTask | PackTask, answer: tuple[Any, bytes]) -> Any:
    """The function's own answer, after the shard has been written to its place.

    Raises:
        BrokenArtefact: if other bytes came than were sent.
    """
    found, shard = answer
    if isinstance(task, PackTask) and files.write_bytes(task.path, shard) != found.shard.sha256:
        raise BrokenArtefact(f"{task.path} did not arrive as it was sent; run the ingest stage again")
    return found


def _weight(stored: Any) -> int:
    if isinstance(stored, bytes):
        return len(stored)
    if isinstance(stored, tuple):
        return sum(_weight(part) for part in stored)
    return int(getattr(stored, "nbytes", 0))
