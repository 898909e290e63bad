"""Samples of label maps beside the maps, and the training pairs that a judge of them learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.metric import LabelMaps, MapBlock
from pipeline.sampling.samples import CHUNK, SampleSource, stored
from pipeline.scoring.extract import ShardInputs
from pipeline.types import Array


def maps_of(source: SampleSource, seed: int, truncation: float = 1.0) -> LabelMaps | None:
    """The label maps of a design that makes photographs of them, its one input; None for all others."""
    held = source.inputs
    if not isinstance(held, ShardInputs) or len(held.names) != 1 or source.spec.dtype != "uint8":
        return None
    (name,) = held.names
    field = source.field(name)
    if field.kind != "mask" or field.shape[0] < 2 or source.spec.modality != "image" or not len(held.examples):
        return None
    learnt = ShardInputs(replace(held.examples, split="train"), held.names)

    def train(numbers: NDArray[np.int64]) -> MapBlock:
        return MapBlock(learnt.reals(numbers), _classes(learnt(numbers)[name]))

    def blocks(limit: int) -> Iterator[MapBlock]:
        for chunk in range(-(-limit // CHUNK)):
            numbers = np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, limit), dtype=np.int64)
            made = stored(source.chunk(seed, chunk, truncation=truncation)[: len(numbers)], source.spec)
            yield MapBlock(held.reals(numbers), _classes(held(numbers)[name]), made)

    return LabelMaps(field.shape[0], len(learnt.examples), len(held.examples), train, blocks)


def _classes(planes: Array) -> NDArray[np.int64]:
    """Planes (n, classes, H, W) → the class of each place (n, H, W), -1 where no plane is set."""
    return np.where(planes.any(axis=1), planes.argmax(axis=1), -1)
