"""What every extractor shares: pixels to network input, and features in batches of one fixed size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.contract.extractor import AnyExtractor, Examples
from pipeline.formats.reference import Features, Labels, Measured

# Float bits depend on the size of a batch, so every batch is this long, padded where data ends.
BATCH = 64


def to_input(x: NDArray[Any] | Tensor) -> Tensor:
    """Uint8 pixels → float32 in [-1, 1]; other types pass as float32."""
    pixels = torch.as_tensor(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else x
    if pixels.dtype == torch.uint8:
        return pixels.float().div_(127.5).sub_(1)
    return pixels.float()


@torch.inference_mode()
def extract(extractor: AnyExtractor, x: NDArray[Any] | Tensor) -> tuple[Features, Features | None]:
    """Features (n, d) and logits (n, classes) of n ≤ BATCH examples, uint8 or float32.

    The network always sees BATCH rows, so an example's features don't depend on its company.
    """
    n = len(x)
    whole = to_input(x)
    if n < BATCH:
        whole = torch.cat([whole, whole.new_zeros((BATCH - n, *whole.shape[1:]))])
    features, logits = extractor.features(whole)
    return features[:n].cpu().numpy(), None if logits is None else logits[:n].cpu().numpy()


def batches(examples: Examples, size: int = BATCH) -> Iterator[tuple[NDArray[Any], Labels]]:
    """Every example of a split in its own order: x (≤ size, …), labels (≤ size,), -1 where there are none."""
    for begin in range(0, len(examples), size):
        indices = np.arange(begin, min(begin + size, len(examples)), dtype=np.int64)
        found = examples.examples(indices)
        label = found["label"] if "label" in found and examples.spec.classes else np.full(len(indices), -1)
        yield found["x"], label.astype(np.int64)


def measure(extractor: AnyExtractor, examples: Examples) -> Measured:
    """The features and labels of a whole split."""
    features = np.empty((len(examples), extractor.dimension), dtype=np.float32)
    labels = np.empty(len(examples), dtype=np.int64)
    begin = 0
    for x, label in batches(examples):
        rows = slice(begin, begin + len(label))
        features[rows], _ = extract(extractor, x)
        labels[rows] = label
        begin += len(label)
    return Measured(features, labels)
