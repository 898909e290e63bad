"""Examples or samples → features, block by block, here or on workers: the same blocks, and so the same bits."""

from __future__ import annotations

import functools
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.contract.extractor import AnyExtractor, Examples
from pipeline.data.batches import Reader
from pipeline.errors import UserError
from pipeline.extractors import _shared as extractors
from pipeline.formats.reference import Features
from pipeline.sampling.samples import CHUNK, Labels, SampleSource, as_stored, open_model
from pipeline.threads import fixed_threads
from pipeline.types import DataSpec

# Rows of one task: their features (2 MB at 2048-d) are what travels.
ROWS = 256

Span = tuple[int, int]


@dataclass(frozen=True)
class FeatureBlock:
    """Rows as an extractor saw them: features (n, d), logits (n, classes) or None, labels (n,), -1 = none.

    nonfinite: how many samples held NaN or infinite values.
    """

    features: Features
    logits: Features | None
    labels: Labels
    nonfinite: int = 0

    def chunks(self) -> Iterator[FeatureBlock]:
        """The same in pieces of 64, in which all sums are taken."""
        for begin in range(0, len(self.labels), CHUNK):
            rows = slice(begin, begin + CHUNK)
            yield FeatureBlock(
                self.features[rows], None if self.logits is None else self.logits[rows], self.labels[rows]
            )


Mapped = Callable[[Callable[[Span], FeatureBlock], Sequence[Span]], Iterable[FeatureBlock]]


def one_by_one(look: Callable[[Span], FeatureBlock], spans: Sequence[Span]) -> Iterator[FeatureBlock]:
    """The plain way of mapping; `cluster.spread.in_order` is the other."""
    return map(look, spans)


def in_threads(count: int) -> Mapped:
    """As `one_by_one`, over threads of this process, each of which computes alone: any count gives the same bits."""

    def mapped(look: Callable[[Span], FeatureBlock], spans: Sequence[Span]) -> Iterator[FeatureBlock]:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting = deque(pool.submit(look, span) for span in spans[: 2 * count])
            following = iter(spans[2 * count :])
            try:
                while waiting:
                    yield waiting.popleft().result()
                    waiting.extend(pool.submit(look, span) for span in islice(following, 1))
            finally:
                pool.shutdown(cancel_futures=True)

    return mapped


@dataclass(frozen=True)
class Handle:
    """An extractor as workers can open it: name and Config as JSON, the data's spec, the file of its state."""

    settings: str
    spec: DataSpec
    state: Path

    @classmethod
    def of(cls, settings: Mapping[str, Any], spec: DataSpec, state: Path) -> Handle:
        """`settings` is the plug-in's name and keys."""
        return cls(json.dumps(settings, sort_keys=True), spec, state)

    def open(self) -> AnyExtractor:
        """The extractor, one for each process."""
        return _opened(self)


@functools.lru_cache(maxsize=2)
def _opened(handle: Handle) -> AnyExtractor:
    extractor: AnyExtractor = plugins.load("extractors", json.loads(handle.settings))
    extractor.load(handle.spec, load_file(handle.state))
    return extractor


@dataclass(frozen=True)
class FeatureTask:
    """A span of examples → a FeatureBlock, on a fixed number of threads."""

    extractor: Handle | AnyExtractor
    examples: Examples
    threads: int

    def __call__(self, span: Span) -> FeatureBlock:
        extractor = self.extractor.open() if isinstance(self.extractor, Handle) else self.extractor
        with fixed_threads(self.threads):
            parts = [self._chunk(extractor, begin, min(begin + CHUNK, span[1])) for begin in range(*span, CHUNK)]
        logits = [part.logits for part in parts if part.logits is not None]
        return FeatureBlock(
            np.concatenate([part.features for part in parts]),
            np.concatenate(logits) if logits else None,
            np.concatenate([part.labels for part in parts]),
            sum(part.nonfinite for part in parts),
        )

    def _chunk(self, extractor: AnyExtractor, begin: int, end: int) -> FeatureBlock:
        found = self.examples.examples(np.arange(begin, end, dtype=np.int64))
        labelled = "label" in found and bool(self.examples.spec.classes)
        labels = found["label"].astype(np.int64) if labelled else np.full(end - begin, -1, dtype=np.int64)
        features, logits = measured(extractor, found["x"])
        return FeatureBlock(features, logits, labels, int(found["nonfinite"].sum()) if "nonfinite" in found else 0)


def measured(extractor: AnyExtractor, x: NDArray[Any]) -> tuple[Features, Features | None]:
    """Features and logits of at most 64 examples; `x` of dtype object holds images each of its own size."""
    if x.dtype != object:
        return extractors.extract(extractor, x)
    of_sizes: Any = cast(Any, extractor).features_of_sizes
    with torch.inference_mode():
        features, logits = of_sizes([extractors.to_input(image) for image in x])
    return features.cpu().numpy(), None if logits is None else logits.cpu().numpy()


def spans(total: int, rows: int = ROWS) -> list[Span]:
    """Consecutive (begin, end) of `total` rows: a whole number of chunks each."""
    return [(begin, min(begin + rows, total)) for begin in range(0, total, rows)]


def extract_features(
    extractor: Handle | AnyExtractor, examples: Examples, threads: int, mapped: Mapped = one_by_one
) -> Iterator[FeatureBlock]:
    """Every example in order, block by block; blocks that travel, to workers with a handle, are larger."""
    rows = ROWS if isinstance(extractor, Handle) and mapped is not one_by_one else CHUNK
    yield from mapped(FeatureTask(extractor, examples, threads), spans(len(examples), rows))


# --- examples that travel -----------------------------------------------------------------------


@dataclass(frozen=True)
class ShardExamples:
    """One split of a folder of shards; opened where it is read."""

    folder: Path
    split: str
    cache: Path | None = None
    cache_budget: int = 0

    @property
    def spec(self) -> DataSpec:
        return _reader(self).spec

    @property
    def manifest_sha256(self) -> str:
        """What the shards are known by."""
        return _reader(self).manifest.sha256

    @property
    def labels(self) -> Labels | None:
        """Each example's label (n,), where the data is labelled."""
        return _reader(self).labels

    def __len__(self) -> int:
        return len(_reader(self))

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        with _reading:  # a reader keeps open files, and may be asked by several threads
            return _reader(self).examples(indices, ())


_reading = threading.Lock()


@dataclass(frozen=True)
class ShardInputs:
    """`samples.Inputs` from a split: sample i is made from its example i, and from the first again after the last."""

    examples: ShardExamples
    names: tuple[str, ...]

    def __call__(self, numbers: Labels) -> dict[str, NDArray[Any]]:
        reader = _reader(self.examples)
        found: dict[str, NDArray[Any]] = {}
        for name in self.names:
            field = reader.spec.field(name)
            apart = field is not None and field.source == "other_domain"
            other = reader.other if apart else reader
            if field is None or other is None or len(other) == 0:
                raise UserError(f"there is no {name} to make samples from; see ingest.source and holdout_fraction")
            found[name] = other.examples(numbers % len(other), (name,))["x" if apart else name]
        return found

    def targets(self, numbers: Labels) -> NDArray[Any] | None:
        """What ought to come out (n, …), where that is known: x of the item that an input is of."""
        fields = [self.examples.spec.field(name) for name in self.names]
        if all(each is None or each.source == "other_domain" for each in fields):
            return None
        return self.reals(numbers)

    def reals(self, numbers: Labels) -> NDArray[Any]:
        """x of these examples (n, …), and of the first again after the last."""
        return _reader(self.examples).examples(numbers % len(self.examples), ())["x"]

    def count(self, name: str) -> int:
        """How many different inputs `name` there are."""
        field, reader = self.examples.spec.field(name), _reader(self.examples)
        apart = field is not None and field.source == "other_domain" and reader.other is not None
        return len(reader.other) if apart and reader.other is not None else len(reader)


def inputs_of(family: AnyFamily, shards: Path) -> ShardInputs | None:
    """The holdout as inputs for a design that translates; None for all others."""
    return ShardInputs(ShardExamples(shards, "holdout"), tuple(sorted(family.inputs))) if family.inputs else None


@functools.lru_cache(maxsize=4)
def _reader(examples: ShardExamples) -> Reader:
    return Reader(examples.folder, examples.split, cache=examples.cache, cache_budget=examples.cache_budget)


@dataclass(frozen=True, eq=False)
class SampleExamples:
    """Samples of the model in `folder`: quantised, as a person would save them.

    labels (count,): what each is asked for. nonfinite: marks samples with NaN or infinite values.
    """

    folder: Path
    labels: Labels
    seed: int
    truncation: float = 1.0
    threads: int = 1
    device: str = "cpu"
    weights_sha256: str = ""
    inputs: ShardInputs | None = None

    @property
    def spec(self) -> DataSpec:
        return self._source.spec

    @property
    def _source(self) -> SampleSource:
        return _model(self.folder, self.weights_sha256, self.threads, self.device, self.inputs)

    def __len__(self) -> int:
        return len(self.labels)

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Samples `indices`, consecutive, of whole chunks as far as there are any."""
        source, index = self._source, int(indices[0]) // CHUNK
        asked = source.default_labels(CHUNK, index * CHUNK)
        mine = self.labels[index * CHUNK : (index + 1) * CHUNK]
        asked[: len(mine)] = mine
        made = source.chunk(self.seed, index, asked, self.truncation)[: len(indices)]
        broken = ~made.flatten(1).isfinite().all(dim=1)
        return {
            "x": as_stored(torch.nan_to_num(made), source.spec).cpu().numpy(),
            "label": self.labels[indices],
            "nonfinite": broken.cpu().numpy(),
        }


@functools.lru_cache(maxsize=2)
def _model(folder: Path, _weights: str, threads: int, device: str, inputs: ShardInputs | None) -> SampleSource:
    return open_model(folder, device=device, threads=threads, inputs=inputs)[0]
