"""A noisy copy of an image or a sound: what a design that cleans is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from pipeline import randomness
from pipeline.data.transform import Transform as Base
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec


class Config(Settings):
    """Each example has noise of its own, the same whenever it is read."""

    std: float = Field(default=0.1, gt=0, description="of the normal noise, where values lie in [-1, 1]")
    seed: int = Field(default=0, ge=0)


class Transform(Base[Config]):
    """x + σ ε with ε ~ N(0, 1) for each number, cut to [-1, 1]; images are rounded to whole grey levels."""

    def field(self, of: FieldSpec) -> FieldSpec:
        if of.kind not in ("image", "waveform"):
            raise ValueError(f"takes an image or a waveform, and '{of.name}' is of the kind {of.kind}")
        return replace(of)

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        drawn = (
            np.stack(
                [
                    torch.randn(
                        values.shape[1:], generator=randomness.generator(self.config.seed, "noise", number)
                    ).numpy()
                    for number in numbers.tolist()
                ]
            )
            if len(values)
            else np.zeros(values.shape, np.float32)
        )
        if values.dtype == np.uint8:
            return np.rint(np.clip(values + 127.5 * self.config.std * drawn, 0, 255)).astype(np.uint8)
        return np.clip(values + np.float32(self.config.std) * drawn, -1, 1).astype(np.float32)
