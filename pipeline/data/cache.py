"""A split decoded once into one memory-mapped file that all processes of a machine share.

    <cache>/<manifest sha256, 16 digits>-<split>/decoded.bin     examples in index order, raw values
    <cache>/<…>/decoded.json                                     sha256 of manifest and of decoded.bin, written last

One process builds it under a lock while the others wait; a cache that is torn, altered or of
another manifest is built anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from pipeline.formats import files, shards
from pipeline.formats.shards import Manifest
from pipeline.settings import UserError
from pipeline.types import Array

DATA, CARD, LOCK = "decoded.bin", "decoded.json", "lock"


def decoded_bytes(manifest: Manifest, split: str) -> int:
    """What the decoded split takes on disk, and in memory once it was all read."""
    return manifest.split(split).examples * _row(manifest, split).itemsize


def _row(manifest: Manifest, split: str) -> np.dtype[Any]:
    """One decoded example: x, and the fields stored beside it."""
    spec = manifest.spec
    fields = (("x", spec.shape), *shards.stored_in(spec, split))
    return np.dtype([(name, np.dtype(spec.dtype), shape) for name, shape in fields])


def decoded(folder: Path, manifest: Manifest, split: str, cache: Path) -> Array:
    """The whole split (n,), each row of it `x` and the fields beside it, read-only and mapped.

    Built first where there is no sound cache.

    Raises:
        BrokenArtefact: if the shards are not what the manifest says.
        UserError: if the cache cannot be written.
    """
    examples, row = manifest.split(split).examples, _row(manifest, split)
    if examples == 0:
        return np.zeros(0, dtype=row)
    place = cache / f"{manifest.sha256[:16]}-{split}"
    if not _sound(place, manifest, split):
        try:
            place.mkdir(parents=True, exist_ok=True)
            with FileLock(place / LOCK):
                if not _sound(place, manifest, split):
                    _build(place, folder, manifest, split)
        except OSError as error:
            raise UserError(
                f"the decoded data cannot be kept in {place} ({error.strerror or error}); make room there, "
                "or lower the cache budget so that examples are read from the shards"
            ) from None
    return np.asarray(np.memmap(place / DATA, dtype=row, mode="r", shape=(examples,)))


def _sound(place: Path, manifest: Manifest, split: str) -> bool:
    """Whether the cache is whole, of this manifest, and unaltered."""
    data = place / DATA
    try:
        card = files.read_json(place / CARD, "the reader")
        size = data.stat().st_size
    except (files.BrokenArtefact, OSError):
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
    shapes = [spec.shape, *(shape for _, shape in shards.stored_in(spec, split))]
    with files.replacing(place / DATA) as temporary, temporary.open("wb") as out:
        start = 0
        for shard in manifest.split(split).shards:
            rows, start = index[start : start + shard.examples], start + shard.examples
            path = folder / shard.name
            files.verify(path, shard.sha256, shards.MADE_BY)
            with path.open("rb") as tar:
                for _, offset, length, _, *others in rows.tolist():
                    places = (offset, length, *others)
                    for shape, begin, size in zip(shapes, places[::2], places[1::2], strict=True):
                        tar.seek(begin)
                        where = f"{path} at byte {begin}"
                        out.write(shards.decode(tar.read(size), replace(spec, shape=shape), where).tobytes())
    files.write_json(place / CARD, _card(manifest, files.sha256_file(place / DATA)))
