"""Source → byte-for-byte repeatable webdataset shards and their manifest, in two passes over the data.

The first pass hashes every example; the hashes decide order and splits, so that neither depends on
file names, and any prefix of a split is a fair draw from it. The second reads again and packs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import plugins
from pipeline.contract import Progress
from pipeline.data import rejects, scanning
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Entry, Rejected
from pipeline.formats import files, shards
from pipeline.formats.shards import Manifest, Shard, Split
from pipeline.settings import UserError
from pipeline.types import DataSpec, Example

SPLITS = ("train", "holdout")


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known of the data before any of it is read: None where only reading it would tell."""

    channels: int | None
    resolution: tuple[int, int] | None
    classes: tuple[str, ...]


def open_source(settings: IngestSettings) -> DataSource[Any]:
    """The source that `settings.source` chooses.

    Raises:
        SettingsError: for an unknown source or key.
    """
    return plugins.load("data.sources", settings.source, "ingest.source")


def preflight(settings: IngestSettings) -> Preview:
    """Check that the source's files are there, and say what is known already; decodes nothing.

    Raises:
        UserError: naming the key that is wrong.
    """
    source = open_source(settings)
    source.check("ingest.source")
    channels, *size = source.native_shape() or (None,)
    resolution = settings.size or ((size[0], size[1]) if size else None)
    return Preview(settings.channels or channels, resolution, source.expected_classes())


def ingest(
    settings: IngestSettings,
    out: Path,
    *,
    map_shards: scanning.MapShards | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Pack what `settings` say into the folder `out`; manifest.json is written last.

    map_shards: spreads the work over processes that see the same `out`; the bytes do not depend on it.
    progress: wraps what comes back from each pass, as a progress bar does.

    Raises:
        SettingsError: if the source is not there, or its images differ where the settings assume they do not.
        UserError: if too much had to be set aside (rejects.csv is written first), or two splits cannot be made.
    """
    source = open_source(settings)
    source.check("ingest.source")
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
    if found.items == 0:
        raise UserError(f"the source {source.describe()['name']} holds no items")
    rejects.write_rejects(out, found.rejects)
    rejects.check_rejects(found.rejects, found.items, settings.max_rejected_fraction, out)
    spec = _spec(source, scanning.one_shape(found.shapes))
    ranking = scanning.rank(found.hashes, settings.holdout_fraction, settings.duplicates == "drop")
    cuts = dict(zip(SPLITS, np.split(ranking.order, [ranking.train]), strict=True))
    tasks = [task for name, order in cuts.items() for task in _tasks(source, settings, found, (name, order), out)]
    answers: Iterable[tuple[Shard, NDArray[np.int64]]] = mapping(pack_shard, tasks)
    packed = list(progress(answers) if progress else answers)
    manifest = Manifest(
        spec=spec,
        splits={name: _split(name, packed, spec, out) for name in cuts},
        source=source.describe(),
        packing=settings.describe(),
        duplicates=_duplicates(found, ranking, settings, out),
        rejects=rejects.counted(found.rejects),
    )
    manifest.save(out)
    return manifest


def _clear(out: Path) -> None:
    """Remove an earlier packing, its manifest first, and nothing that ingest did not write."""
    out.mkdir(parents=True, exist_ok=True)
    (out / shards.MANIFEST).unlink(missing_ok=True)
    written = {*(shards.index_name(split) for split in SPLITS), rejects.REJECTS, rejects.DUPLICATES}
    for path in out.iterdir():
        if path.name in written or shards.is_shard(path.name, SPLITS):
            path.unlink()
    files.sweep_temporaries(out)


def _spec(source: DataSource[Any], shape: tuple[int, ...]) -> DataSpec:
    dtype = "uint8" if source.modality == "image" else "float32"
    return DataSpec(source.modality, shape, source.classes(), dtype)


# --- packing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PackTask:
    """One shard to be written: its path, and its examples' entries, hashes (n, 32), and ranks within the split."""

    source: DataSource[Any]
    settings: IngestSettings
    classes: tuple[str, ...]
    path: Path
    first: int
    entries: tuple[Entry, ...]
    hashes: NDArray[np.uint8]


def _tasks(
    source: DataSource[Any],
    settings: IngestSettings,
    found: scanning.Survey,
    cut: tuple[str, NDArray[np.int64]],
    out: Path,
) -> Iterator[PackTask]:
    split, order = cut
    classes, size = source.classes(), settings.shard_examples
    for number, first in enumerate(range(0, len(order), size)):
        chosen = order[first : first + size]
        entries = tuple(found.entries[index] for index in chosen)
        path = out / shards.shard_name(split, number)
        yield PackTask(source, settings, classes, path, first, entries, found.hashes[chosen])


def pack_shard(task: PackTask) -> tuple[Shard, NDArray[np.int64]]:
    """Read a task's entries again and write its shard; see `shards.write_shard` for what comes back.

    Raises:
        UserError: if an item is not what it was in the first pass.
    """
    return shards.write_shard(task.path, _examples(task), task.settings.png_level)


def _examples(task: PackTask) -> Iterator[Example]:
    numbers = {name: number for number, name in enumerate(task.classes)}
    for offset, entry in enumerate(task.entries):
        try:
            x = scanning.prepared(task.source, entry, task.settings)
        except Rejected as problem:
            raise UserError(f"{entry.key} was changed during ingest: now {problem.reason}") from None
        if scanning.content_hash(x) != task.hashes[offset].tobytes():
            raise UserError(f"{entry.key} was changed during ingest; run it again once the data rests")
        label = None if entry.label is None else numbers[entry.label]
        yield Example(key_of(task.first + offset, entry.key), x, label)


def key_of(position: int, name: str) -> str:
    """The key in the shard: the rank in the split makes it unique, the name is for people.

    Webdataset splits names at the first dot, and USTAR holds 100 bytes, so only ASCII letters,
    digits, `_` and `-` of the last 64 characters of the name remain.
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", plain)[-64:].strip("_")
    return f"{position:08d}-{slug}" if slug else f"{position:08d}"


# --- the manifest -----------------------------------------------------------------------------


def _split(name: str, packed: Sequence[tuple[Shard, NDArray[np.int64]]], spec: DataSpec, out: Path) -> Split:
    mine = [(shard, rows) for shard, rows in packed if shard.name.startswith(f"{name}-")]
    numbered = [np.insert(rows, 0, number, axis=1) for number, (_, rows) in enumerate(mine)]
    index = np.concatenate([np.zeros((0, 4), dtype=np.int64), *numbered])
    file, sha256 = shards.write_index(out, name, index)
    counts = np.bincount(index[:, 3], minlength=len(spec.classes)) if spec.classes else np.zeros(0, dtype=np.int64)
    histogram = {label: int(count) for label, count in zip(spec.classes, counts, strict=True)}
    return Split(name, len(index), tuple(shard for shard, _ in mine), file, sha256, histogram)


def _duplicates(
    found: scanning.Survey, ranking: scanning.Ranking, settings: IngestSettings, out: Path
) -> dict[str, int | str]:
    """Count the repeats, and list them in duplicates.csv."""
    pairs = [(found.entries[repeat], found.entries[first]) for repeat, first in ranking.repeats]
    rows = [(repeat.key, repeat.label or "", first.key, first.label or "") for repeat, first in pairs]
    rejects.write_csv(out / rejects.DUPLICATES, ("item", "label", "same_as", "label_of_that"), rows)
    kinds = Counter(repeat.label != first.label for repeat, first in pairs)
    return {"policy": settings.duplicates, "examples": len(pairs), "conflicting": kinds[True]}
