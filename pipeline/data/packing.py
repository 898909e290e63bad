"""Source → byte-for-byte repeatable webdataset shards and their manifest, in two passes over the data.

The first pass hashes every example; the hashes decide order and splits, so that neither depends on
file names, and any prefix of a split is a fair draw from it. The second reads again and packs.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data import caption_counts, classes, derived, listing, notes, ranking, rejects, scanning, summary
from pipeline.data.caption_counts import CaptionCounts
from pipeline.data.derived import Derived
from pipeline.data.opening import open_source
from pipeline.data.preview import check_fitting
from pipeline.data.settings import IngestSettings
from pipeline.data.shapes import one_shape
from pipeline.data.source import DataSource, Entry, SourceField
from pipeline.errors import Rejected, UserError
from pipeline.formats import shards
from pipeline.formats.shards import Manifest, Shard, Split
from pipeline.storage import files, tables
from pipeline.types import DataSpec, Example, Progress

SPLITS = ("train", "holdout")
EVERY = (*SPLITS, *(f"{shards.UNPAIRED}{split}" for split in SPLITS))
TRAINING = ("train", f"{shards.UNPAIRED}train")


def ingest(
    settings: IngestSettings,
    out: Path,
    *,
    source: DataSource[Any] | None = None,
    map_shards: scanning.MapShards | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Pack what `settings` say into the folder `out`; manifest.json is written last.

    source: one that is open already, in place of what `settings` choose.
    map_shards: spreads the work over processes that see the same `out`; the bytes do not depend on it.
    progress: wraps what comes back from each pass, as a progress bar does.

    Raises:
        SettingsError: if the source is not there, or its images differ where the settings assume they do not.
        UserError: if too much had to be rejected (rejects.csv is written first), or two splits cannot be made.
    """
    source = source or open_source(settings)
    check_fitting(source, settings)
    source.check("ingest.source")
    scanning.check_limit(source, settings)
    return pack(source, settings, out, map_shards=map_shards, progress=progress)


def pack(
    source: DataSource[Any],
    settings: IngestSettings,
    out: Path,
    *,
    map_shards: scanning.MapShards | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """`ingest` for a source that is open already."""
    mapping = map_shards or scanning.in_turn
    out = out.resolve()
    _clear(out)
    found = scanning.survey(source, settings, mapping, progress)
    if found.items == 0 and not source.may_be_empty:
        raise UserError(f"the source {source.describe()['name']} holds no items")
    rejects.write_rejects(out, found.rejects)
    rejects.check_rejects(found.rejects, found.items, settings.max_rejected_fraction, out)
    spec = _spec(source, settings, found)
    spec = replace(spec, classes=classes.with_examples(source, settings, found))
    domains = _domains(source, settings, found)
    cuts = {name: order for cut, _ in domains.values() for name, order in cut.items()}
    repeats = [pair for _, pairs in domains.values() for pair in pairs]
    tasks = [
        task
        for name, order in cuts.items()
        for task in _tasks(PackTask(source, settings, spec, Path()), found, (name, order), out)
    ]
    answers: Iterable[Packed] = mapping(pack_shard, tasks)
    packed = list(progress(answers) if progress else answers)
    splits = {name: _split(name, packed, spec, out) for name in cuts}
    train, other = (functools.reduce(summary.merged, sums, {}) for sums in _sums(packed))
    said, of_train = (_counted(packed, named) for named in (EVERY, TRAINING))
    spec = replace(spec, summary=summary.summary(spec, train, other, of_train))
    notes.write(out, found.notes)
    passed = source.passed_over()
    rejects.write_passed_over(out, passed)
    manifest = Manifest(
        spec=spec,
        splits=splits,
        source=source.describe(),
        packing=settings.describe(),
        duplicates=_duplicates(found, repeats, settings, out),
        rejects=rejects.counted(found.rejects),
        notes=_notes(found, repeats, splits, source.classes()),
        passed_over=listing.counted(passed),
        captions=said.numbers(),
    )
    manifest.save(out)
    return manifest


def _clear(out: Path) -> None:
    """Remove an earlier packing, its manifest first, and nothing that ingest did not write."""
    out.mkdir(parents=True, exist_ok=True)
    (out / shards.MANIFEST).unlink(missing_ok=True)
    own = {rejects.REJECTS, rejects.DUPLICATES, rejects.PASSED_OVER, notes.NOTES}
    written = {*(shards.index_name(split) for split in EVERY), *own}
    for path in out.iterdir():
        if path.name in written or shards.is_shard(path.name, EVERY):
            path.unlink()
    files.sweep_temporaries(out)


def _spec(source: DataSource[Any], settings: IngestSettings, found: scanning.Survey) -> DataSpec:
    known = None if found.shapes else source.native_shape()
    shape = one_shape(found.shapes, source.modality) if known is None else known
    fields = tuple(each.spec(_shape_of(each, found.fields.get(each.name), shape)) for each in source.fields)
    spec = DataSpec(
        source.modality,
        shape,
        source.classes(),
        source.dtype,
        fields,
        source.rate(),
        columns=source.columns(),
        label_column=source.label_column(),
    )
    return replace(spec, fields=(*fields, *derived.fields(settings.derive, (spec.x, *spec.stored))))


def _shape_of(field: SourceField, found: Counter[tuple[int, ...]] | None, like: tuple[int, ...]) -> tuple[int, ...]:
    """The one shape of a field in all examples. Without examples: the shape that the source declares, or x's."""
    if not found:
        return field.shape or like
    return one_shape(found, field.kind if field.fitted else "tensor", f"field '{field.name}' of the examples")


Cut = tuple[dict[str, NDArray[np.int64]], list[tuple[int, int]]]


def _domains(source: DataSource[Any], settings: IngestSettings, found: scanning.Survey) -> dict[str, Cut]:
    """Each domain's splits, as survey indices by split name, and its repeats: one domain for most sources."""
    numbers = {name: number for number, name in enumerate(source.classes())}
    labels = np.array([numbers.get(entry.label or "", -1) for entry in found.entries], dtype=np.int64)
    other = np.array([entry.unpaired for entry in found.entries], dtype=bool)
    chosen = {"": np.flatnonzero(~other)}
    if source.other_domain is not None:
        chosen[shards.UNPAIRED] = np.flatnonzero(other)
    cuts: dict[str, Cut] = {}
    for prefix, mine in chosen.items():
        if len(mine) == 0 and source.may_be_empty:
            cuts[prefix] = ({f"{prefix}{name}": mine for name in SPLITS}, [])
            continue
        drop = settings.duplicates == "drop"
        ranked = ranking.rank(found.hashes[mine], settings.holdout_fraction, drop, labels[mine])
        parts = np.split(mine[ranked.order], [ranked.train])
        repeats = [(int(mine[repeat]), int(mine[first])) for repeat, first in ranked.repeats]
        cuts[prefix] = ({f"{prefix}{name}": part for name, part in zip(SPLITS, parts, strict=True)}, repeats)
    return cuts


# --- packing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PackTask:
    """One shard to be written: its path, and its examples' entries, hashes (n, 32), and ranks within the split.

    spec: what all of the data is.
    """

    source: DataSource[Any]
    settings: IngestSettings
    spec: DataSpec
    path: Path
    first: int = 0
    entries: tuple[Entry, ...] = ()
    hashes: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 32), dtype=np.uint8))


def _tasks(like: PackTask, found: scanning.Survey, cut: tuple[str, NDArray[np.int64]], out: Path) -> Iterator[PackTask]:
    split, order = cut
    size = like.settings.shard_examples
    for number, first in enumerate(range(0, len(order), size)):
        chosen = order[first : first + size]
        yield replace(
            like,
            path=out / shards.shard_name(split, number),
            first=first,
            entries=tuple(found.entries[index] for index in chosen),
            hashes=found.hashes[chosen],
        )


@dataclass(frozen=True)
class Packed:
    """A shard and its rows, as `shards.write_shard` gives them, sums of a training split's fields by name, and counts
    of its captions."""

    shard: Shard
    rows: NDArray[np.int64]
    sums: dict[str, summary.Sums]
    captions: CaptionCounts

    @property
    def split(self) -> str:
        return shards.split_of(self.shard.name)


def pack_shard(task: PackTask) -> Packed:
    """Read a task's entries again and write its shard.

    Raises:
        UserError: if an item is not what it was in the first pass.
    """
    split = shards.split_of(task.path.name)
    stored = shards.stored_in(task.spec, split)
    made = task.spec.derived if split == "train" else ()
    measured = summary.measurable((*stored, *made)) if split in TRAINING else ()
    watch = summary.Watch(measured, Derived(made, stored), task.first)
    names = [each.name for each in stored[1:]]
    counts = CaptionCounts()
    examples = watch.over(_examples(task))
    examples = counts.over(examples) if caption_counts.holds_captions(task.spec) else examples
    shard, rows = shards.write_shard(task.path, examples, task.settings.png_level, names)
    return Packed(shard, rows, watch.sums, counts)


def _counted(packed: Sequence[Packed], splits: Sequence[str]) -> CaptionCounts:
    """The captions of these splits."""
    mine = [each.captions for each in packed if each.split in splits]
    return functools.reduce(CaptionCounts.plus, mine, CaptionCounts())


def _sums(packed: Sequence[Packed]) -> Iterator[list[dict[str, summary.Sums]]]:
    """The sums of the training split's shards, and of the other domain's, each in order."""
    for split in TRAINING:
        yield [each.sums for each in packed if each.split == split]


def _examples(task: PackTask) -> Iterator[Example]:
    numbers = {name: number for number, name in enumerate(task.spec.classes)}
    for offset, entry in enumerate(task.entries):
        try:
            found = scanning.prepared(task.source, entry, task.settings)
        except Rejected as problem:
            raise UserError(f"{entry.key} was changed during ingest: now {problem.reason}") from None
        if scanning.content_hash(found.x, found.extra) != task.hashes[offset].tobytes():
            raise UserError(f"{entry.key} was changed during ingest; run it again once the data rests")
        label = None if entry.label is None else numbers[entry.label]
        yield Example(key_of(task.first + offset, entry.key), found.x, label, found.extra)


def key_of(position: int, name: str) -> str:
    """The key in the shard: the rank in the split makes it unique, the name is for people.

    Webdataset splits names at the first dot, and USTAR holds 100 bytes, so only ASCII letters,
    digits, `_` and `-` of the last 64 characters of the name remain.
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", plain)[-64:].strip("_")
    return f"{position:08d}-{slug}" if slug else f"{position:08d}"


# --- the manifest -----------------------------------------------------------------------------


def _split(name: str, packed: Sequence[Packed], spec: DataSpec, out: Path) -> Split:
    mine = [each for each in packed if each.split == name]
    numbered = [np.insert(each.rows, 0, number, axis=1) for number, each in enumerate(mine)]
    index = np.concatenate([np.zeros((0, shards.columns(spec, name)), dtype=np.int64), *numbered])
    file, sha256 = shards.write_index(out, name, index)
    counts = np.bincount(index[:, 3], minlength=len(spec.classes)) if spec.classes else np.zeros(0, dtype=np.int64)
    histogram = {label: int(count) for label, count in zip(spec.classes, counts, strict=True)}
    return Split(name, len(index), tuple(each.shard for each in mine), file, sha256, histogram)


def _duplicates(
    found: scanning.Survey, repeats: Sequence[tuple[int, int]], settings: IngestSettings, out: Path
) -> dict[str, int | str]:
    """Count the repeats, and list them in duplicates.csv."""
    pairs = [(found.entries[repeat], found.entries[first]) for repeat, first in repeats]
    rows = [(repeat.key, repeat.label or "", first.key, first.label or "") for repeat, first in pairs]
    tables.write(out / rejects.DUPLICATES, ("item", "label", "same_as", "label_of_that"), rows)
    kinds = Counter(repeat.label != first.label for repeat, first in pairs)
    return {"policy": settings.duplicates, "examples": len(pairs), "conflicting": kinds[True]}


def _notes(
    found: scanning.Survey, repeats: Sequence[tuple[int, int]], splits: dict[str, Split], named: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Notes on items and classes, by kind."""
    noted = notes.counted(found.notes, len(found.entries))
    pairs = [(found.entries[repeat], found.entries[first]) for repeat, first in repeats]
    unlike = [(repeat, first) for repeat, first in pairs if repeat.label != first.label]
    if unlike:
        repeat, first = unlike[0]
        detail = f"{repeat.key} is {repeat.label}, and {first.key} is {first.label}"
        noted[notes.TWO_LABELS] = {"items": len(unlike), "of": len(found.entries), "detail": detail}
    train, holdout = (splits[name].histogram for name in SPLITS)
    return noted | notes.of_classes(train, holdout, [name for name in named if name not in train])
