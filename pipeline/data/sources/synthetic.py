"""No data set: the shape of what a family plays with, and, if asked for, random examples drawn from counters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline import randomness
from pipeline.contract import Latent
from pipeline.data.source import DataSource, Entry, Limits
from pipeline.settings import Settings
from pipeline.types import Modality

AXES: dict[str, int] = {"image": 3, "waveform": 2, "voxels": 4, "video": 4, "rows": 1}


class Config(Settings):
    """For families that draw all they need, such as adversarial_cryptography: shape: [16], its number of bits."""

    modality: Modality = "rows"
    shape: tuple[int, ...] = Field(default=(16,), min_length=1, description="one example's: [F], [C, T], [C, H, W] …")
    examples: int = Field(default=0, ge=0, description="random examples; 0: none, and nothing can be measured on them")
    distribution: Literal["bits", "uniform", "normal"] = Field(
        default="bits", description="of each number: ±1, U(−1, 1) or N(0, 1); an image's is cut to [−1, 1]"
    )
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _shaped(self) -> Config:
        axes = AXES[self.modality]
        if len(self.shape) != axes or min(self.shape) < 1:
            raise ValueError(f"shape: {list(self.shape)} is no {self.modality}; that has {axes} axes of 1 or more")
        if self.modality == "image" and self.shape[0] not in (1, 3, 4):
            raise ValueError(f"shape: an image has 1, 3 or 4 channels, not {self.shape[0]}")
        return self


class Source(DataSource[Config]):
    """Example i is a pure function of (seed, i, shape, distribution)."""

    may_be_empty = True

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        return {"shape": [6], "examples": 3}

    @property
    def modality(self) -> Modality:
        return self.config.modality

    def native_shape(self) -> tuple[int, ...]:
        return self.config.shape

    def classes(self) -> tuple[str, ...]:
        return ()

    def entries(self) -> list[Entry]:
        return [Entry(f"synthetic/{number:06d}", (number,)) for number in range(self.config.examples)]

    def fetch(self, entry: Entry, limits: Limits) -> int:
        return cast(tuple[int], entry.where)[0]

    def decode(self, stored: int, limits: Limits) -> NDArray[np.float32] | NDArray[np.uint8]:
        source = randomness.generator(self.config.seed, "synthetic", stored)
        x = Latent("x", self.config.shape, self.config.distribution).draw(1, source)[0].numpy()
        if self.modality != "image":
            return x
        return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
