"""Bag of words: the commonest words of the training captions, weighted by how rare they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline import captions, randomness
from pipeline.contract import text_encoder as contract
from pipeline.settings import Settings
from pipeline.types import DataSpec


class Config(Settings):
    """How many words it knows."""

    dimension: int = Field(default=1024, ge=2, le=16_384, description="words of the vocabulary: numbers in a vector")


class TextEncoder(contract.TextEncoder[Config]):
    """tf-idf (Salton & Buckley 1988), L2-normed: v_w = tf(w)·(ln((1 + N) / (1 + df(w))) + 1).

    N training captions, df(w) of which hold the word w: the `dimension` most frequent words have a number each. Words
    of the holdout alone are unknown, and unknown words count for nothing: a sentence of such is the vector 0. The
    vocabulary is kept as whole numbers, a hash a word. It knows no order of words, and has seen no image.
    """

    keys: Tensor
    counts: Tensor
    documents: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("keys", torch.zeros(config.dimension, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(config.dimension, dtype=torch.int64))
        self.register_buffer("documents", torch.zeros((), dtype=torch.int64))

    @property
    def dimension(self) -> int:
        return self.config.dimension

    def prepare(self, spec: DataSpec) -> None:
        known = None if spec.summary is None else spec.summary.texts.get(self.reads)
        if known is None or self.keys.is_meta:
            return
        kept = known.words[: self.dimension]
        self.documents.fill_(known.captions)
        self.keys[: len(kept)] = torch.tensor([key_of(word) for word, _ in kept], dtype=torch.int64)
        self.counts[: len(kept)] = torch.tensor([count for _, count in kept], dtype=torch.int64)

    def encode(self, sentences: Sequence[str]) -> Tensor:
        counts = self.counts.cpu().numpy()
        places = {key: place for place, key in enumerate(self.keys.tolist()) if counts[place]}
        weights = np.log((1 + int(self.documents)) / (1 + counts)) + 1
        rows = np.zeros((len(sentences), self.dimension), dtype=np.float64)
        for row, sentence in zip(rows, sentences, strict=True):
            for word, count in Counter(captions.words(sentence)).items():
                place = places.get(key_of(word))
                if place is not None:
                    row[place] = count * weights[place]
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.from_numpy((rows / np.where(norms > 0, norms, 1)).astype(np.float32))


def key_of(word: str) -> int:
    """A word as a number of 63 bits, the same everywhere."""
    return randomness.key(0, f"word/{word}")
