"""A source whose examples hold a field of every kind, each of its own shape and type; all of it from counters."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.data.source import DataSource, Entry, Limits, SourceField
from pipeline.settings import Settings
from pipeline.types import Array, Modality

WORDS, ATTRIBUTES = 5, 3


class Config(Settings):
    """items: of x's domain; others: of another, whose images have another size and one channel; 0: none."""

    items: int = 12
    others: int = 0
    seed: int = 0


class Source(DataSource[Config]):
    """x is 6 × 8 RGB; beside it a pair, a mask, a thumbnail of its own size, attributes, words and an age."""

    @property
    def fields(self) -> tuple[SourceField, ...]:  # pyright: ignore[reportIncompatibleVariableOverride] (by its config)
        beside = (
            SourceField("pair"),
            SourceField("mask", "mask"),
            SourceField("thumbnail", aligned=False),
            SourceField("attribute", "tensor", shape=(ATTRIBUTES,)),
            SourceField("text", "text", shape=(WORDS,)),
            SourceField("age", "label", shape=()),
        )
        return (*beside, SourceField("sketch", source="other_domain")) if self.config.others else beside

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        mine = [Entry(f"{number:03d}", (number,)) for number in range(self.config.items)]
        return mine + [Entry(f"other/{number}", (number,), unpaired=True) for number in range(self.config.others)]

    def fetch(self, entry: Entry, limits: Limits) -> tuple[int, bool]:
        return cast(tuple[int], entry.where)[0], entry.unpaired

    def decode(self, stored: tuple[int, bool], limits: Limits) -> NDArray[np.uint8]:
        number, other = stored
        return self._drawn(number, 9 if other else 0).integers(0, 256, (4, 4, 1) if other else (6, 8, 3), np.uint8)

    def decode_fields(self, stored: tuple[int, bool], limits: Limits) -> dict[str, Array]:
        number, other = stored
        if other:
            return {}
        drawn = self._drawn(number, 1)
        return {
            "pair": drawn.integers(0, 256, (6, 8, 1), np.uint8),
            "mask": drawn.integers(0, 2, (6, 8, 1), np.uint8) * 255,
            "thumbnail": drawn.integers(0, 256, (3, 2, 3), np.uint8),
            "attribute": drawn.normal(size=ATTRIBUTES).astype(np.float32),
            "text": drawn.integers(0, 1000, WORDS),
            "age": np.asarray(drawn.integers(0, 100)),
        }

    def _drawn(self, number: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, number, purpose])


class Sounds(DataSource[Config]):
    """Waveforms (1, 16), each with a picture that is no mirror image of anything heard."""

    fields = (SourceField("clean", "waveform"), SourceField("cover", shape=(3, 4, 4)))

    @property
    def modality(self) -> Modality:
        return "waveform"

    def native_shape(self) -> tuple[int, ...]:
        return (1, 16)

    def rate(self) -> int:
        return 8_000

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        return [Entry(f"{number:03d}", (number,)) for number in range(self.config.items)]

    def fetch(self, entry: Entry, limits: Limits) -> int:
        return cast(tuple[int], entry.where)[0]

    def decode(self, stored: int, limits: Limits) -> NDArray[np.float32]:
        return np.random.default_rng(stored).uniform(-1, 1, (1, 16)).astype(np.float32)

    def decode_fields(self, stored: int, limits: Limits) -> dict[str, Any]:
        drawn = np.random.default_rng([stored, 1])
        return {
            "clean": drawn.uniform(-1, 1, (1, 16)).astype(np.float32),
            "cover": drawn.integers(0, 256, (4, 4, 3), np.uint8),
        }
