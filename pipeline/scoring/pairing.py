"""Samples beside what they ought to be, and what they were made from: for designs with inputs whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.contract.metric import PairBlock, Pairs
from pipeline.sampling.samples import CHUNK, SampleSource, stored
from pipeline.scoring.extract import ShardInputs

Pixels = NDArray[np.uint8]


def pairs_of(source: SampleSource, seed: int, truncation: float = 1.0) -> Pairs | None:
    """The samples of a seed with their truths, one for each example that there is an input for; None without truths.

    A sample here is that of the same number anywhere else, and every rank makes all of them.
    """
    inputs = source.inputs
    if not isinstance(inputs, ShardInputs) or source.spec.modality != "image" or source.spec.dtype != "uint8":
        return None
    if not len(inputs.examples) or inputs.targets(np.arange(1)) is None:
        return None

    def blocks(limit: int) -> Iterator[PairBlock]:
        for chunk in range(-(-limit // CHUNK)):
            numbers = np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, limit), dtype=np.int64)
            truth = inputs.targets(numbers)
            assert truth is not None  # as of the first
            made = stored(source.chunk(seed, chunk, truncation=truncation)[: len(numbers)], source.spec)
            yield PairBlock(made, truth, _given(source, inputs, numbers))

    return Pairs(len(inputs.examples), blocks, _said(source, inputs))


def _shown(source: SampleSource, inputs: ShardInputs) -> str | None:
    """The input that can stand beside the truth: an image, the only one, grey or of as many channels."""
    images = [name for name in inputs.names if source.field(name).kind == "image"]
    if len(images) != 1 or source.field(images[0]).shape[0] not in (1, source.spec.channels):
        return None
    return images[0]


def _said(source: SampleSource, inputs: ShardInputs) -> str:
    name = _shown(source, inputs)
    if name is None:
        return ""
    same = source.field(name).shape[1:] == source.spec.resolution
    return f"the input {name}" if same else f"the input {name}, enlarged by Pillow's bicubic,"


def _given(source: SampleSource, inputs: ShardInputs, numbers: NDArray[np.int64]) -> Pixels | None:
    """The inputs at the size of the truth."""
    name = _shown(source, inputs)
    if name is None:
        return None
    found, (height, width) = inputs(numbers)[name], source.spec.resolution
    if found.shape[2:] == (height, width):
        return found
    return np.stack([np.stack([_enlarged(plane, (width, height)) for plane in image]) for image in found])


def _enlarged(plane: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BICUBIC))
