"""The first pass of ingest: every item is read once for its content hash and its shape, and let go again.

What stays in memory is 32 bytes an item, beside the list of entries itself.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.data import images, notes
from pipeline.data.rejects import Reject
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Entry, SourceField
from pipeline.errors import Rejected, SettingsError
from pipeline.types import FLIPPED, Array, Progress

Task = TypeVar("Task")
Answer = TypeVar("Answer")
KNOWN_ENLARGED = 2.0  # where all images of a source have one size that is known, enlarging by so much is not noted
MapShards = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""`map_shards(function, tasks)` gives the answers in the order of the tasks; both sides can be pickled."""


def in_turn(function: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterable[Answer]:
    """The plain `map_shards`: one after the other, in this process."""
    return map(function, tasks)


@dataclass(frozen=True)
class Prepared:
    """One entry as it is packed, and its fields: (C, H, W) uint8 for images, (C, T, H, W) for videos, what the source
    reads for all else."""

    x: Array
    extra: dict[str, Array]


def prepared(source: DataSource[Any], entry: Entry, settings: IngestSettings) -> Prepared:
    """One entry, read and fitted.

    Raises:
        Rejected: if this item cannot be used.
    """
    if entry.problem is not None:
        raise Rejected(*entry.problem)

    stored = source.fetch(entry, settings.limits)
    x = source.decode(stored, settings.limits)
    extra = dict(sorted(source.decode_fields(stored, settings.limits).items()))
    declared = {each.name: each for each in source.fields}
    aligned: dict[str, Array] = {}
    if source.modality == "image":
        aligned = {name: each for name, each in extra.items() if declared[name].fitted}
        _check_halves(x, aligned, settings)
        # The largest decides which region is kept of all, so that proportional positions stay together.
        like = max((each.shape[:2] for each in (x, *aligned.values())), key=lambda size: size[0] * size[1])
        x = images.fit(x, settings, like)
        aligned = {name: _fitted(each, declared[name], settings, like) for name, each in aligned.items()}
    elif source.modality == "video":
        x = np.stack([images.fit(frame, settings) for frame in x], axis=1)
    return Prepared(
        np.ascontiguousarray(x),
        {name: aligned[name] if name in aligned else _as_given(each, declared[name]) for name, each in extra.items()},
    )


def _fitted(pixels: Array, field: SourceField, settings: IngestSettings, like: tuple[int, int]) -> Array:
    """(H, W, C) → (C', H', W') as x is fitted; values of a mask are not mixed, and its channels stay."""
    if field.kind == "mask":
        settings = settings.model_copy(update={"filter": "nearest", "channels": None, "pad_value": field.ground})
    return images.fit(pixels, settings, like)


def _as_given(values: Array, field: SourceField) -> Array:
    """A field as the source gives it; images and masks (H, W, C) → (C, H, W)."""
    if values.dtype != field.dtype:
        raise TypeError(f"the field '{field.name}' is {values.dtype}, and a {field.kind} is stored as {field.dtype}")
    planes = field.kind in FLIPPED and values.ndim == 3
    return np.asarray(values.transpose(2, 0, 1) if planes else values, order="C")


def _check_halves(x: Array, aligned: dict[str, Array], settings: IngestSettings) -> None:
    """Reject an item whose halves, (H, W, C) each, cannot be brought to one shape with the same region in both."""
    for name, other in aligned.items():
        mine, others = x.shape[:2], other.shape[:2]
        shapes = f"{_shown(mine)}, and its {name} {_shown(others)}"
        alike = images.proportional(mine, others)
        if settings.size is None and mine != others and alike:
            raise Rejected("two sizes", f"{shapes}; set ingest.resolution")
        if not alike and (settings.size is None or settings.resize in ("center_crop", "pad")):
            needed = "ingest.resize: stretch" if settings.size else "ingest.resolution and ingest.resize: stretch"
            raise Rejected("two shapes", f"{shapes}; crop them alike, or set {needed}")


def _shown(size: Sequence[int]) -> str:
    return "×".join(map(str, size))


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
    """hashes: uint8 (n, 32), shapes: one an entry, zeros and () where it was rejected; fields: a shape each.

    notes: of entries that are used, each with the entry's number.
    """

    hashes: NDArray[np.uint8]
    shapes: tuple[tuple[int, ...], ...]
    rejected: tuple[tuple[int, Reject], ...]
    fields: tuple[tuple[str, tuple[int, ...]], ...] = ()
    notes: tuple[tuple[int, notes.Note], ...] = ()


def scan(task: ScanTask) -> Scanned:
    """Read, fit and hash the entries of a task, and collect what is noted of them."""
    hashes = np.zeros((len(task.entries), 32), dtype=np.uint8)
    shapes: list[tuple[int, ...]] = []
    rejected: list[tuple[int, Reject]] = []
    fields: list[tuple[str, tuple[int, ...]]] = []
    noted: list[tuple[int, notes.Note]] = []
    for number, entry in enumerate(task.entries):
        try:
            with notes.collected() as left:
                found = prepared(task.source, entry, task.settings)
        except Rejected as problem:
            rejected.append((number, Reject(entry.key, problem.reason, problem.detail)))
            shapes.append(())
            continue
        hashes[number] = np.frombuffer(content_hash(found.x, found.extra), dtype=np.uint8)
        shapes.append(found.x.shape)
        fields += [(name, values.shape) for name, values in found.extra.items()]
        noted += [(number, note) for note in notes.worst(left)]
    return Scanned(hashes, tuple(shapes), tuple(rejected), tuple(fields), tuple(noted))


@dataclass(frozen=True)
class Survey:
    """What the first pass found, rejects apart: entries in source order, their hashes (n, 32), all shapes of x.

    fields: the shapes of each field beside x, another domain's among them.

    rejected: the entries that were rejected, as `rejects` lists them. notes: with the keys of their entries.
    """

    entries: tuple[Entry, ...]
    hashes: NDArray[np.uint8]
    shapes: Counter[tuple[int, ...]]
    rejects: tuple[Reject, ...]
    items: int
    fields: dict[str, Counter[tuple[int, ...]]]
    rejected: tuple[Entry, ...]
    notes: tuple[tuple[str, notes.Note], ...]


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
    other = source.other_domain
    rejects: list[Reject] = []
    rejected: list[Entry] = []
    noted: list[tuple[str, notes.Note]] = []
    same: dict[notes.Note, notes.Note] = {}  # a million equal notes are one in memory
    remaining = iter(entries)
    for answer in progress(answers) if progress else answers:
        good = np.array([bool(shape) for shape in answer.shapes], dtype=bool)
        mine = list(islice(remaining, len(good)))
        kept += [entry for entry, keep in zip(mine, good, strict=True) if keep]
        rejected += [mine[number] for number, _ in answer.rejected]
        noted += [(mine[number].key, same.setdefault(note, note)) for number, note in answer.notes]
        hashes.append(answer.hashes[good])
        for entry, shape in zip(mine, answer.shapes, strict=True):
            if shape:
                counts = fields.setdefault(other.name, Counter()) if other and entry.unpaired else shapes
                counts[shape] += 1
        for name, shape in answer.fields:
            fields.setdefault(name, Counter())[shape] += 1
        rejects += [reject for _, reject in answer.rejected]
    if source.native_shape() is not None:  # one known size, for which the resolution was chosen
        noted = [(key, note) for key, note in noted if note.kind != notes.ENLARGED or note.value > KNOWN_ENLARGED]
    return Survey(
        tuple(kept),
        np.concatenate(hashes),
        shapes,
        tuple(rejects),
        len(entries),
        fields,
        tuple(rejected),
        tuple(noted),
    )


def limited(entries: Sequence[Entry], limit: int | None) -> Sequence[Entry]:
    """As many as `ingest.limit` allows, evenly spread over their order."""
    if limit is None or limit >= len(entries):
        return entries
    return [entries[number * len(entries) // limit] for number in range(limit)]


def check_limit(source: DataSource[Any], settings: IngestSettings) -> None:
    """Refuse an `ingest.limit` by which a class would have no example, or each at most one and none to hold out.

    Raises:
        SettingsError: with a limit that would do.
    """
    if settings.limit is None or settings.empty_classes == "drop":
        return
    classes = source.expected_classes()
    least = len(classes) + (settings.holdout_fraction > 0 and len(classes) > 0)
    if settings.limit >= least:
        return
    entries = source.entries()
    if settings.limit < len(entries):
        what = "is below" if settings.limit < len(classes) else "is just"
        needs = "each needs an example" if settings.holdout_fraction == 0 else "each needs one beside what is held out"
        # Of classes with one example each none could be held out.
        used = Counter(entry.label for entry in limited(entries, settings.limit))
        may_drop = settings.holdout_fraction == 0 or max(used.values()) > 1
        raise SettingsError(
            f"ingest.limit: {settings.limit} {what} the number of classes, {len(classes)}; {needs}: "
            f"{reaching(entries, settings)}{', or set ingest.empty_classes: drop' if may_drop else ''}"
        )


def reaching(entries: Sequence[Entry], settings: IngestSettings) -> str:
    """What would let ingest.limit reach every class that has an item: advice, without a full stop.

    What is held out is never the last of its class: so it reaches two of each class that has two, or holds out more
    than there are classes.
    """
    longest: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for label, run in groupby(entry.label if entry.problem is None else None for entry in entries):
        if label is not None:
            count = sum(1 for _ in run)
            longest[label] = max(longest[label], count)
            total[label] += count
    shortest, share = min(longest.values(), default=1), settings.holdout_fraction
    # Gaps between the items that are used are as long as the shortest of the classes' longest runs, or shorter.
    enough = -(-len(entries) // shortest)
    if share > 0 and round(enough * share) <= len(total):
        two, many = -(-len(entries) // max(1, shortest // 2)), math.ceil((len(total) + 1) / share)
        enough = max(enough, min(two, many))
    if enough < len(entries):
        return f"take {enough} or more"
    limit = 2 * len(total)  # classes that lie mixed are reached long before, though not by every larger limit
    while limit < len(entries):
        used = Counter(entry.label for entry in limited(entries, limit) if entry.problem is None)
        least = 2 if share > 0 and round(limit * share) <= len(total) else 1
        if all(used[label] >= min(least, count) for label, count in total.items()):
            return f"take {limit}"
        limit *= 2
    return "leave it out"
