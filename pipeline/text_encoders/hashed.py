"""Hashed n-grams of characters: no vocabulary, nothing learnt; words that nobody wrote before are near their kin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from pipeline import captions
from pipeline.contract import text_encoder as contract
from pipeline.settings import Settings

PRIME = np.uint64(0x100000001B3)  # of FNV-1a; sums and products are modulo 2⁶⁴
START = np.uint64(0xCBF29CE484222325)
MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))  # MurmurHash3's finaliser
SHIFT = np.uint64(33)


class Config(Settings):
    """How long the vector is, and which runs of characters are counted."""

    dimension: int = Field(default=1024, ge=2, le=65_536, description="numbers in a vector")
    shortest: int = Field(default=3, ge=1, le=16, description="characters in the shortest runs that are counted")
    longest: int = Field(default=5, ge=1, le=16, description="characters in the longest")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if self.shortest > self.longest:
            raise ValueError(f"shortest: {self.shortest} is not allowed; it must be at most longest, {self.longest}")
        return self


class TextEncoder(contract.TextEncoder[Config]):
    """Signed feature hashing (Weinberger et al. 2009, arXiv:0902.2206, equation 3) of runs of characters, L2-normed.

    φ_i(x) = Σ_{j: h(j) = i} ξ(j)·x_j, where j is a run of 3 to 5 characters of the words, in small letters, with one
    space around each word, and x_j how often it stands there. The hash is FNV-1a's over code points with MurmurHash3's
    finaliser: fixed, the same on every machine. A sentence without letters and digits is the vector 0. It knows no
    order of words and no synonyms, and has seen no image.
    """

    @property
    def dimension(self) -> int:
        return self.config.dimension

    def encode(self, sentences: Sequence[str]) -> Tensor:
        rows = np.zeros((len(sentences), self.dimension), dtype=np.float64)
        for row, sentence in zip(rows, sentences, strict=True):
            self._count(captions.words(sentence), row)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.from_numpy((rows / np.where(norms > 0, norms, 1)).astype(np.float32))

    def _count(self, words: Sequence[str], row: NDArray[np.float64]) -> None:
        points = np.array([ord(each) for each in f" {' '.join(words)} "] if words else [], dtype=np.uint64)
        for length in range(self.config.shortest, self.config.longest + 1):
            if len(points) >= length:
                hashes = hashed(points, length)
                signs = np.where(hashes >> np.uint64(63), -1.0, 1.0)
                np.add.at(row, (hashes % np.uint64(self.dimension)).astype(np.int64), signs)


def hashed(points: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """One hash for each run of `length` code points, (n - length + 1,)."""
    count = len(points) - length + 1
    found = np.full(count, START, dtype=np.uint64)
    for offset in range(length):
        found = (found ^ points[offset : offset + count]) * PRIME
    for factor in MIX:
        found = (found ^ (found >> SHIFT)) * factor
    return found ^ (found >> SHIFT)
