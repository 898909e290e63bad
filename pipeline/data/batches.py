"""Shards → batches: any rows of the global batch at any position of the endless order, in any process."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import randomness
from pipeline.data import cache as caching
from pipeline.data import shard_files
from pipeline.data.derived import Derived
from pipeline.data.ordering import Ordering, hashed
from pipeline.errors import UserError
from pipeline.formats import shards
from pipeline.formats.shards import Manifest, Split
from pipeline.types import Array, Batch, DataSpec, FieldSpec

TOP_BIT = np.uint64(63)


class Reader:
    """The examples of one split by their number, from a decoded cache or straight from the shards.

    cache: where decoded examples are kept for all processes of the machine; None: read the shards.
    cache_budget: bytes; a split that takes more is read from its shards, with the same result.
        Of what other data has left in the cache, the least lately used goes beyond it.
        The cache was checked by sha256 against the shards; reading without it notices missing and
        truncated shards at once, damaged members when they are met.

    Raises:
        BrokenArtefact: if the shards are missing or not what the manifest says.
    """

    def __init__(self, folder: Path, split: str, *, cache: Path | None = None, cache_budget: int = 0) -> None:
        self.manifest: Manifest = Manifest.load(folder)
        self.split: Split = self.manifest.split(split)
        self._files = shard_files.opened(folder, self.split)
        self._index = shards.load_index(folder, self.split, self.spec)
        self.labels: NDArray[np.int64] | None = None
        if self.spec.classes:
            self.labels = np.ascontiguousarray(self._index[:, 3])
            self.labels.flags.writeable = False
        self.cached = cache is not None and caching.decoded_bytes(self.manifest, split) <= cache_budget
        self.stored: tuple[FieldSpec, ...] = shards.stored_in(self.spec, split)
        self.derived = Derived(() if split.startswith(shards.UNPAIRED) else self.spec.derived, self.stored)
        self._data: Array | None = None
        if cache is not None and self.cached:
            self._data = caching.decoded(folder, self.manifest, split, cache, cache_budget)
        self.other: Reader | None = None
        if self.spec.other_domain is not None and not split.startswith(shards.UNPAIRED):
            self.other = Reader(folder, f"{shards.UNPAIRED}{split}", cache=cache, cache_budget=cache_budget)

    def __len__(self) -> int:
        return self.split.examples

    @property
    def spec(self) -> DataSpec:
        """What the data is: fields, classes."""
        return self.manifest.spec

    def examples(self, indices: NDArray[np.int64], derived: Collection[str] = ()) -> dict[str, Array]:
        """`x` and each field of the same item (n, *shape), as stored, and `label` int64 (n,), where there are classes.

        Fresh arrays. Not another domain's: those examples have numbers of their own, and a reader, `other`.
        derived: names of the derived fields to compute as well.
        """
        if self._data is None:
            found = self._streamed(indices)
        else:
            found = {each.name: self._data[each.name][indices] for each in self.stored}
        found |= self.derived.computed(found, indices, derived)
        if self.labels is not None:
            found["label"] = self.labels[indices]
        return found

    def _streamed(self, indices: NDArray[np.int64]) -> dict[str, Array]:
        found: dict[str, Array] = {
            each.name: np.empty((len(indices), *each.shape), dtype=each.dtype) for each in self.stored
        }
        rows = self._index[indices]
        numbers = rows[:, 0]
        for number, descriptor in self._files.each(np.unique(numbers).tolist()):
            for row in np.flatnonzero(numbers == number).tolist():
                _, offset, length, _, *others = rows[row].tolist()
                places = (offset, length, *others)
                for each, begin, size in zip(self.stored, places[::2], places[1::2], strict=True):
                    data = os.pread(descriptor, size, begin)
                    where = f"{self._files.where(number)} at byte {begin}"
                    found[each.name][row] = shards.decode(data, each, where)
        return found


class Batches:
    """Batches in the endless order of (reader, seed): a pure function of the position.

    flip: mirror half of the images, drawn for each position of the order; the fields that flip are mirrored with
        them, and no others.
    derived: names of the derived fields that are wanted; None: all.
    Examples of another domain come in an order, and with flips, of their own.

    Raises:
        UserError: if the split is empty, or is to be flipped and holds no images.
    """

    def __init__(self, reader: Reader, seed: int, flip: bool = False, derived: Collection[str] | None = None) -> None:
        if len(reader) == 0:
            raise UserError(f"the split '{reader.split.name}' holds no examples; see ingest.holdout_fraction")
        if flip and not reader.stored[0].flips:
            raise UserError(f"only images can be flipped, not {reader.stored[0].kind}")
        self.reader = reader
        wanted = [each for each in reader.derived.fields if derived is None or each.name in derived]
        self._fields = (*reader.stored, *wanted)
        self._derived = tuple(each.name for each in wanted)
        self.ordering = Ordering(len(reader), seed)
        self._flip_key = randomness.key(seed, "flip") if flip else None
        other, self._other = reader.spec.other_domain, None
        if other is not None and reader.other is not None:
            self._other = (other.name, Batches(reader.other, randomness.key(seed, "unpaired"), flip))

    def batch(self, position: int, start: int, stop: int, device: torch.device | str = "cpu") -> Batch:
        """Rows `start` … `stop - 1` of the global batch that begins at `position`.

        `x` and the data's fields are as `FieldSpec.tensor` says; `label` is int64 (n,), where the data is labelled.
        """
        first, count = position + start, stop - start
        examples = self.reader.examples(self.ordering.take(first, count), self._derived)
        label = examples.pop("label", None)
        if self._flip_key is not None:
            drawn = hashed(self._flip_key, np.arange(first, first + count, dtype=np.int64)) >> TOP_BIT
            mirrored = np.flatnonzero(drawn)
            for each in self._fields:
                if each.flips:
                    values = examples[each.name]
                    values[mirrored] = values[mirrored][..., ::-1]
        batch = cast(Batch, {each.name: each.tensor(examples[each.name], device) for each in self._fields})
        if label is not None:
            batch["label"] = torch.from_numpy(label).to(device)
        if self._other is not None:
            name, batches = self._other
            batch |= cast(Batch, {name: batches.batch(position, start, stop, device).get("x")})
        return batch
