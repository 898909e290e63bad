"""A split decoded once into one memory-mapped file that all processes of a machine share.

    <cache>/<manifest sha256, 16 digits>-<split>/decoded.bin     examples in index order, raw values
    <cache>/<…>/decoded.json                                     sha256 of manifest and of decoded.bin, written last

One process builds it under a lock while the others wait; a cache that is torn, altered or of
another manifest is built again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pipeline.data import shard_files
from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats import shards
from pipeline.formats.shards import Manifest
from pipeline.storage import files
from pipeline.types import Array

DATA, CARD, LOCK = "decoded.bin", "decoded.json", "lock"
ATTEMPTS = 10


def decoded_bytes(manifest: Manifest, split: str) -> int:
    """What the decoded split takes on disk, and in memory once it was all read."""
    return manifest.split(split).examples * _row(manifest, split).itemsize


def _row(manifest: Manifest, split: str) -> np.dtype[Any]:
    """One decoded example: x, and the fields stored beside it."""
    stored = shards.stored_in(manifest.spec, split)
    return np.dtype([(each.name, np.dtype(each.dtype), each.shape) for each in stored])


def decoded(folder: Path, manifest: Manifest, split: str, cache: Path, budget: int) -> Array:
    """The whole split (n,), each row of it `x` and the fields beside it, read-only and mapped.

    Built first where there is no sound cache. budget: bytes; of what other manifests left in the cache, the least
    lately used goes beyond it.

    Raises:
        BrokenArtefact: if the shards are not what the manifest says.
        UserError: if the cache cannot be written, or a store that holds the shards does not answer.
    """
    examples, row = manifest.split(split).examples, _row(manifest, split)
    if examples == 0:
        return np.zeros(0, dtype=row)
    place = cache / f"{manifest.sha256[:16]}-{split}"
    for attempt in range(ATTEMPTS):
        try:
            if not _sound(place, manifest, split):
                place.mkdir(parents=True, exist_ok=True)
                with FileLock(place / LOCK):
                    if not _sound(place, manifest, split):
                        _build(place, folder, manifest, split)
                _trim(cache, manifest, budget)
            with suppress(PermissionError):  # of another person's cache
                os.utime(place)
            return np.asarray(np.memmap(place / DATA, dtype=row, mode="r", shape=(examples,)))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and attempt < ATTEMPTS - 1:
                continue  # dropped in this moment, for other data
            raise UserError(
                f"the decoded data cannot be kept in {place} ({error.strerror or error}); make room there, "
                "or lower the cache budget so that examples are read from the shards"
            ) from None
    raise AssertionError("the last attempt returns or raises")


def _trim(cache: Path, manifest: Manifest, budget: int) -> None:
    """Drop what other manifests left, but nothing that is being built; whoever has it mapped keeps what he has."""
    places = {path: _bytes_in(path) for path in cache.iterdir() if (path / LOCK).exists()}
    total = sum(places.values())
    for path in sorted(places, key=lambda path: path.stat().st_mtime):
        if total <= budget:
            return
        if not path.name.startswith(manifest.sha256[:16]):
            with suppress(Timeout), FileLock(path / LOCK, timeout=0):
                shutil.rmtree(path, ignore_errors=True)
                total -= places[path]


def _bytes_in(place: Path) -> int:
    return sum(path.stat().st_size for path in place.iterdir())


def _sound(place: Path, manifest: Manifest, split: str) -> bool:
    """Whether the cache is whole, of this manifest, and unaltered."""
    data = place / DATA
    try:
        card = files.read_json(place / CARD, "the reader")
        size = data.stat().st_size
    except (BrokenArtefact, OSError):
        return False
    expected = _card(manifest, files.sha256_file(data)) if size == decoded_bytes(manifest, split) else None
    return bool(card == expected)


def _card(manifest: Manifest, sha256: str) -> dict[str, Any]:
    return {"manifest": manifest.sha256, "sha256": sha256}


def _build(place: Path, folder: Path, manifest: Manifest, split: str) -> None:
    """Decode every shard, having checked its sha256, in index order."""
    files.sweep_temporaries(place)
    (place / CARD).unlink(missing_ok=True)
    spec = manifest.spec
    index = shards.load_index(folder, manifest.split(split), spec)
    stored = shards.stored_in(spec, split)
    whole = shard_files.opened(folder, manifest.split(split))
    with files.replacing(place / DATA) as temporary, temporary.open("wb") as out:
        for number, descriptor in whole.each(range(len(manifest.split(split).shards))):
            whole.verify(number)
            for _, offset, length, _, *others in index[index[:, 0] == number].tolist():
                places = (offset, length, *others)
                for each, begin, size in zip(stored, places[::2], places[1::2], strict=True):
                    data = os.pread(descriptor, size, begin)
                    where = f"{whole.where(number)} at byte {begin}"
                    out.write(shards.decode(data, each, where).tobytes())
    files.write_json(place / CARD, _card(manifest, files.sha256_file(place / DATA)))
