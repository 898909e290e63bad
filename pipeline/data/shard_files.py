"""Where a reader finds its shards: in their folder, or in a store, from which each comes when it is read."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats import shards
from pipeline.formats.shards import Manifest, Split
from pipeline.storage import files
from pipeline.storage.bundles import ELSEWHERE, Index
from pipeline.storage.node_cache import Blobs, RemoteShards

OPEN_SHARDS = 64
AHEAD = 4  # shards fetched side by side, while those before them are read


class ShardFiles(Protocol):
    """The tars of a split, by their number in its manifest."""

    def each(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Number and open descriptor of each, in the order given; a descriptor is good until the next is asked for."""
        ...

    def verify(self, number: int) -> None:
        """Raise `BrokenArtefact` unless the whole file has its sha256."""
        ...

    def where(self, number: int) -> str:
        """How errors name it."""
        ...


def opened(folder: Path, split: Split) -> ShardFiles:
    """The split's tars, wherever they are.

    Raises:
        BrokenArtefact: if they belong in the folder, and one is missing or cut short.
    """
    elsewhere = RemoteShards.load(folder)
    if elsewhere is not None:
        return Streamed(elsewhere.blobs(), split)
    shards.check_sizes(folder, split)
    return InFolder(folder, split)


def held(root: Path, paths: Iterable[str], store: str) -> Index:
    """Shards below `paths` of `root` that are in `store` alone, as its bundles name them: sha256 and bytes by path.

    Raises:
        BrokenArtefact: if a folder notes a store where this machine has written none, or its manifest is broken.
    """
    found: Index = {}
    for card in (each for path in paths for each in (root / path).rglob(ELSEWHERE)):
        remote = RemoteShards.load(card.parent)
        if remote is None or remote.store != store:
            continue
        for split in Manifest.load(card.parent).splits.values():
            for shard in split.shards:
                name = (card.parent / shard.name).relative_to(root).as_posix()
                found[name] = shard.sha256, shard.bytes
    return found


class InFolder:
    """Shards opened as they are needed, the most recent `OPEN_SHARDS` of them kept open."""

    def __init__(self, folder: Path, split: Split) -> None:
        self._paths = [folder / shard.name for shard in split.shards]
        self._split = split
        self._open: OrderedDict[int, int] = OrderedDict()
        weakref.finalize(self, _close, self._open)

    def each(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        for number in numbers:
            if number not in self._open:
                if len(self._open) >= OPEN_SHARDS:
                    os.close(self._open.popitem(last=False)[1])
                try:
                    self._open[number] = os.open(self._paths[number], os.O_RDONLY)
                except OSError as error:
                    raise BrokenArtefact(f"{self._paths[number]} cannot be opened ({error.strerror})") from None
            self._open.move_to_end(number)
            yield number, self._open[number]

    def verify(self, number: int) -> None:
        files.verify(self._paths[number], self._split.shards[number].sha256, shards.MADE_BY)

    def where(self, number: int) -> str:
        return str(self._paths[number])


class Streamed:
    """Shards of a store: fetched when they are first read, a few side by side, and kept as the machine has room."""

    def __init__(self, blobs: Blobs, split: Split) -> None:
        self._blobs = blobs
        self._split = split

    def each(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        """As in a folder.

        Raises:
            BrokenArtefact: if the store holds another file under its sha256.
            UserError: if the store does not answer.
        """
        missing = sum(not self._blobs.holds(shard.sha256, shard.bytes) for shard in map(self._shard, numbers))
        if missing > 1:
            yield from self._side_by_side(numbers)
            return
        for number in numbers:
            descriptor = self._open(number)
            try:
                yield number, descriptor
            finally:
                os.close(descriptor)

    def verify(self, number: int) -> None:
        """Nothing: it was, on its way."""

    def where(self, number: int) -> str:
        return f"{self._shard(number).name} of the store"

    def _shard(self, number: int) -> shards.Shard:
        return self._split.shards[number]

    def _open(self, number: int) -> int:
        shard = self._shard(number)
        return self._blobs.open(shard.sha256, shard.bytes)

    def _side_by_side(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        waiting: deque[tuple[int, Future[int]]] = deque()
        following = iter(numbers)
        with ThreadPoolExecutor(AHEAD) as pool:
            try:
                while True:
                    room = AHEAD - len(waiting)
                    waiting.extend((number, pool.submit(self._open, number)) for number in islice(following, room))
                    if not waiting:
                        return
                    number, future = waiting.popleft()
                    descriptor = future.result()
                    try:
                        yield number, descriptor
                    finally:
                        os.close(descriptor)
            finally:
                for _, future in waiting:
                    if not future.cancel():
                        with suppress(OSError, UserError):  # the first error is the one that is said
                            os.close(future.result())


def _close(descriptors: OrderedDict[int, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])
