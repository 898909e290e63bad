"""Nobody looks: for designs that measure themselves, such as adversarial cryptography, and have no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.contract import extractor as contract
from pipeline.contract.extractor import Examples
from pipeline.settings import Settings
from pipeline.types import DataSpec


class Config(Settings):
    """Nothing to set."""


class Extractor(contract.Extractor[Config]):
    """Every example is one 0: no score that compares features is taken with it."""

    looks = False

    @property
    def dimension(self) -> int:
        return 1

    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Nothing to prepare; the splits may be empty."""
        return {}

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return torch.zeros(len(x), 1, device=x.device), None

    def state_dict(self) -> dict[str, Tensor]:
        return {"nothing": torch.zeros(1)}

    def load(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        return None
