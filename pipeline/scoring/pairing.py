"""Samples beside what they ought to be, and what they were made from: for designs with inputs whose truth is known.

A design with an encoder makes its samples of the held-out examples themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.contract.extractor import AnyExtractor, Examples
from pipeline.contract.metric import PairBlock, Pairs
from pipeline.formats.reference import Reference
from pipeline.sampling.samples import CHUNK, SampleSource, evaluating, quantise, stored
from pipeline.scoring.extract import ShardInputs
from pipeline.threads import fixed_threads

Pixels = NDArray[np.uint8]


def pairs_for(
    source: SampleSource, reference: Reference, splits: Mapping[str, Examples], seed: int, truncation: float = 1.0
) -> Pairs | None:
    """Held-out examples made again, else samples with their truths, as the reference's extractor sees them too."""
    found = reconstructions_of(source, splits.get("holdout")) or pairs_of(source, seed, truncation)
    if found is None:
        return None
    return replace(found, features=lambda x: features_of(reference.extractor(), reference.card.threads, x))


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


def reconstructions_of(source: SampleSource, holdout: Examples | None) -> Pairs | None:
    """Held-out images with what the generator makes of their codes and labels; None where there is no encoder.

    Every rank makes all of them.
    """
    if holdout is None or not len(holdout) or not makes_again(source):
        return None

    def blocks(limit: int) -> Iterator[PairBlock]:
        for begin in range(0, min(limit, len(holdout)), CHUNK):
            found = holdout.examples(np.arange(begin, min(begin + CHUNK, limit, len(holdout)), dtype=np.int64))
            labels = found["label"] if source.conditional else None
            yield PairBlock(reconstructed(source, found["x"], labels), found["x"])

    return Pairs(len(holdout), blocks, reconstructed=True)


def makes_again(source: SampleSource) -> bool:
    """Whether the model's design has an encoder, and makes images."""
    pictures = source.spec.modality == "image" and source.spec.dtype == "uint8"
    return pictures and "encode" in source.family.procedures()


def reconstructed(source: SampleSource, x: Pixels, labels: NDArray[np.int64] | None) -> Pixels:
    """Images uint8 (n, C, H, W), encoded and made again with their labels (n,); n is 64 at most.

    Networks see whole chunks: the bits do not depend on n.
    """
    places = np.arange(CHUNK) % len(x)
    batch: Any = {}
    if labels is not None:
        batch["label"] = torch.from_numpy(np.ascontiguousarray(labels[places])).to(source.device)
    shown = source.spec.x.tensor(np.ascontiguousarray(x[places]), source.device)
    with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
        latents = source.family.procedures()["encode"](source.networks, shown)
        made = source.family.sample(source.networks, latents, batch)
    return stored(made, source.spec)[: len(x)]


@torch.no_grad()
def features_of(extractor: AnyExtractor, threads: int, x: Pixels) -> NDArray[np.float64]:
    """What an extractor sees in images uint8 (n, C, H, W), in chunks: (n, d)."""
    with fixed_threads(threads):
        parts = [
            extractor.features(torch.from_numpy(np.ascontiguousarray(x[begin : begin + CHUNK])).float() / 127.5 - 1)[0]
            for begin in range(0, len(x), CHUNK)
        ]
    return torch.cat(parts).cpu().double().numpy()


def cycles_of(source: SampleSource, seed: int, truncation: float = 1.0) -> dict[str, Pairs] | None:
    """Held-out examples of both domains beside what comes back of them; None for designs without a way back.

    A design has one where its procedures name `back`: from x to the domain that its samples are made from. Between the
    two ways nothing is rounded. Noise, where a design has any, is that of the first samples of the seed.
    """
    back, inputs = source.family.procedures().get("back"), source.inputs
    if back is None or not isinstance(inputs, ShardInputs) or len(inputs.names) != 1 or not len(inputs.examples):
        return None
    if source.spec.modality != "image" or source.spec.dtype != "uint8":
        return None
    (name,) = inputs.names

    def forth(given: Tensor, number: int) -> Tensor:
        condition: Any = {name: given}
        noise = {each: values.to(source.device) for each, values in source.latents(seed, number).items()}
        chosen = {each: values[: len(given)] for each, values in noise.items()}
        return source.family.sample(source.networks, chosen, condition, truncation)

    def there_and_back(domain: str, x: Tensor, number: int) -> Tensor:
        with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
            if domain == name:
                return back(source.networks, forth(x, number))
            return forth(back(source.networks, x), number)

    def of(domain: str) -> Pairs:
        field = source.field(name) if domain == name else source.spec.x

        def blocks(limit: int) -> Iterator[PairBlock]:
            for number in range(-(-limit // CHUNK)):
                numbers = np.arange(number * CHUNK, (number + 1) * CHUNK, dtype=np.int64)
                held = inputs(numbers)[name] if domain == name else inputs.reals(numbers)
                again = quantise(there_and_back(domain, field.tensor(held, source.device), number)).cpu().numpy()
                kept = min(CHUNK, limit - number * CHUNK)
                yield PairBlock(again[:kept], held[:kept])

        return Pairs(inputs.count(name) if domain == name else len(inputs.examples), blocks)

    return {name: of(name), "x": of("x")}


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
