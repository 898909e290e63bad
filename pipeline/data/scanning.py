"""The first pass of ingest: every item is read once for its content hash and its shape, and let go again.

What stays in memory is 32 bytes an item, beside the list of entries itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.data import images
from pipeline.data.rejects import Reject
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Entry, Rejected
from pipeline.settings import SettingsError, UserError
from pipeline.types import Array, Modality, Progress

Task = TypeVar("Task")
Answer = TypeVar("Answer")
MapShards = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""`map_shards(function, tasks)` gives the answers in the order of the tasks; both sides can be pickled."""


def in_turn(function: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterable[Answer]:
    """The plain `map_shards`: one after the other, in this process."""
    return map(function, tasks)


@dataclass(frozen=True)
class Prepared:
    """One entry as it is packed: (C, H, W) uint8 for images, what the source reads for all else; and its fields."""

    x: Array
    extra: dict[str, Array]


def prepared(source: DataSource[Any], entry: Entry, settings: IngestSettings) -> Prepared:
    """One entry, read and fitted.

    Raises:
        Rejected: if this item cannot be used.
    """
    if entry.problem is not None:
        raise Rejected(*entry.problem)

    def fitted(read: Array) -> Array:
        return images.fit(read, settings) if source.modality == "image" else np.ascontiguousarray(read)

    stored = source.fetch(entry, settings.limits)
    x = fitted(source.decode(stored, settings.limits))
    extra = {name: fitted(read) for name, read in sorted(source.decode_fields(stored, settings.limits).items())}
    for name, other in extra.items():
        if other.shape[1:] != x.shape[1:]:
            mine, others = ("×".join(map(str, each.shape[1:])) for each in (x, other))
            raise Rejected("two sizes", f"{mine}, and its {name} {others}; set ingest.resolution")
    return Prepared(x, extra)


def content_hash(x: Array, extra: dict[str, Array] | None = None) -> bytes:
    """sha256 of type, shape and values: equal for examples that are packed alike, whatever their files were."""
    digest = hashlib.sha256()
    for name, values in (("", x), *sorted((extra or {}).items())):
        digest.update(f"{name}{values.dtype.str} {'×'.join(map(str, values.shape))}\n".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.digest()


@dataclass(frozen=True)
class ScanTask:
    """Some entries to be hashed, wherever there is a free processor."""

    source: DataSource[Any]
    settings: IngestSettings
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Scanned:
    """hashes: uint8 (n, 32), shapes: one an entry, zeros and () where it was rejected; fields: a shape each."""

    hashes: NDArray[np.uint8]
    shapes: tuple[tuple[int, ...], ...]
    rejected: tuple[tuple[int, Reject], ...]
    fields: tuple[tuple[str, tuple[int, ...]], ...] = ()


def scan(task: ScanTask) -> Scanned:
    """Read, fit and hash the entries of a task."""
    hashes = np.zeros((len(task.entries), 32), dtype=np.uint8)
    shapes: list[tuple[int, ...]] = []
    rejected: list[tuple[int, Reject]] = []
    fields: list[tuple[str, tuple[int, ...]]] = []
    for number, entry in enumerate(task.entries):
        try:
            found = prepared(task.source, entry, task.settings)
        except Rejected as problem:
            rejected.append((number, Reject(entry.key, problem.reason, problem.detail)))
            shapes.append(())
            continue
        hashes[number] = np.frombuffer(content_hash(found.x, found.extra), dtype=np.uint8)
        shapes.append(found.x.shape)
        fields += [(name, values.shape) for name, values in found.extra.items()]
    return Scanned(hashes, tuple(shapes), tuple(rejected), tuple(fields))


@dataclass(frozen=True)
class Survey:
    """What the first pass found, rejects apart: entries in source order, their hashes (n, 32), all shapes."""

    entries: tuple[Entry, ...]
    hashes: NDArray[np.uint8]
    shapes: Counter[tuple[int, ...]]
    rejects: tuple[Reject, ...]
    items: int
    fields: dict[str, Counter[tuple[int, ...]]]


def survey(
    source: DataSource[Any], settings: IngestSettings, map_shards: MapShards, progress: Progress | None
) -> Survey:
    """Scan every entry of `source`, or `settings.limit` of them, evenly spread over its order."""
    entries = limited(source.entries(), settings.limit)
    size = settings.shard_examples
    tasks = [ScanTask(source, settings, tuple(entries[start : start + size])) for start in range(0, len(entries), size)]
    answers: Iterable[Scanned] = map_shards(scan, tasks)
    kept: list[Entry] = []
    hashes = [np.zeros((0, 32), dtype=np.uint8)]
    shapes: Counter[tuple[int, ...]] = Counter()
    fields: dict[str, Counter[tuple[int, ...]]] = {}
    rejects: list[Reject] = []
    remaining = iter(entries)
    for answer in progress(answers) if progress else answers:
        good = np.array([bool(shape) for shape in answer.shapes], dtype=bool)
        kept += [entry for entry, keep in zip(islice(remaining, len(good)), good, strict=True) if keep]
        hashes.append(answer.hashes[good])
        shapes.update(shape for shape in answer.shapes if shape)
        for name, shape in answer.fields:
            fields.setdefault(name, Counter())[shape] += 1
        rejects += [reject for _, reject in answer.rejected]
    return Survey(tuple(kept), np.concatenate(hashes), shapes, tuple(rejects), len(entries), fields)


def limited(entries: Sequence[Entry], limit: int | None) -> Sequence[Entry]:
    """As many as `ingest.limit` allows, evenly spread over their order."""
    if limit is None or limit >= len(entries):
        return entries
    return [entries[number * len(entries) // limit] for number in range(limit)]


def one_shape(found: Counter[tuple[int, ...]], modality: Modality = "image") -> tuple[int, ...]:
    """The shape that all examples share.

    Raises:
        SettingsError: if they do not, with the settings that would make them.
    """
    if len(found) == 1:
        return next(iter(found))
    if modality != "image":
        common = ", ".join(f"{'×'.join(map(str, key))} ({count})" for key, count in found.most_common(4))
        more = f" and {len(found) - 4} others" if len(found) > 4 else ""
        raise SettingsError(
            f"ingest.source: the examples differ in shape: {common}{more}; say in the source's keys, such as length, "
            "which shape all shall have"
        )
    problems: list[str] = []
    for setting, counts in (("channels", _counts(found, slice(0, 1))), ("resolution", _counts(found, slice(1, None)))):
        if len(counts) > 1:
            common = ", ".join(f"{'×'.join(map(str, key))} ({count})" for key, count in counts.most_common(4))
            more = f" and {len(counts) - 4} others" if len(counts) > 4 else ""
            problems.append(f"ingest.{setting}: the images differ: {common}{more}; say which {setting} all shall have")
    raise SettingsError(*problems)


def _counts(found: Counter[tuple[int, ...]], part: slice) -> Counter[tuple[int, ...]]:
    counts: Counter[tuple[int, ...]] = Counter()
    for shape, count in found.items():
        counts[shape[part]] += count
    return counts


# --- order, duplicates, splits ----------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """Examples by content hash: `order` (m,) indexes the survey's entries; the first `train` are the training split.

    repeats: for each repeat of an earlier content, (the repeat, the first), as survey indices.
    """

    order: NDArray[np.int64]
    train: int
    repeats: tuple[tuple[int, int], ...]


def rank(hashes: NDArray[np.uint8], holdout_fraction: float, drop: bool) -> Ranking:
    """Order examples by content hash, ties by source order, and cut: train is the first 1 - `holdout_fraction`.

    The cut moves up to the next change of content (down, where that was the last), so that no content
    is in both splits; with `drop`, repeats of a content are left out.

    Raises:
        UserError: if there are too few different contents for two splits.
    """
    words = np.ascontiguousarray(hashes).view(">u8").reshape(len(hashes), 4)
    order = np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0])).astype(np.int64)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    firsts = order[new][np.cumsum(new) - 1]
    repeats = tuple(sorted((int(a), int(b)) for a, b in zip(order[~new], firsts[~new], strict=True)))
    if drop:
        order, new = order[new], new[new]
    count = len(order)
    train = count - round(count * holdout_fraction)
    if holdout_fraction > 0:
        changes = np.flatnonzero(new)[1:]
        if not len(changes):
            raise UserError(
                f"{count} examples with 1 content between them cannot be cut into train and holdout; "
                "bring more data, or raise ingest.limit if it is set"
            )
        train = int(changes[min(np.searchsorted(changes, train), len(changes) - 1)])
    return Ranking(order, train, repeats)
