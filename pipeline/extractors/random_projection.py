"""An extractor that needs no labels: the example itself, seen along fixed random directions.

Distances and moments survive such a projection (Johnson & Lindenstrauss 1984), so its scores speak
of numbers as they are (pixels), not of what a person would see in them. It is named for what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from pipeline import randomness
from pipeline.contract import extractor as contract
from pipeline.contract.extractor import Examples
from pipeline.settings import Settings
from pipeline.types import DataSpec


class Config(Settings):
    """How many directions."""

    dimension: int = Field(default=64, ge=2, description="numbers in a feature vector")


class Extractor(contract.Extractor[Config]):
    """Features are xᵀG/√d for one Gaussian G (size, d) drawn from the seed; there are no logits."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.directions = torch.empty(0)

    @property
    def dimension(self) -> int:
        return self.config.dimension

    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Draw the directions; nothing is learnt."""
        drawn = torch.randn(
            train.spec.size, self.dimension, generator=randomness.generator(seed, "random_projection/directions")
        )
        self.directions = drawn / self.dimension**0.5
        return {}

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return x.flatten(1).to(self.directions.device) @ self.directions, None

    def state_dict(self) -> dict[str, Tensor]:
        return {"directions": self.directions}

    def load(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self.directions = state["directions"]
