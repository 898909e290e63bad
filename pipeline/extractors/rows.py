"""The rows of a table as they are: features for metrics that compare columns, and distances between rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.contract import extractor as contract
from pipeline.contract.extractor import Examples
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.types import DataSpec


class Config(Settings):
    """Nothing to set."""


class Extractor(contract.Extractor[Config]):
    """The features of a row are its own numbers, float32 (n, F)."""

    verbatim = True
    width = 0

    @classmethod
    def check(cls, spec: DataSpec) -> None:
        if spec.modality != "rows":
            raise SettingsError(
                f"reference.extractor.name: rows sees rows of numbers, and the data is {spec.modality}; take "
                "classifier, or random_projection where nothing is labelled"
            )

    @property
    def dimension(self) -> int:
        return self.width

    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Nothing to prepare but the width."""
        self.check(train.spec)
        self.width = train.spec.size
        return {}

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return x.flatten(1), None

    def state_dict(self) -> dict[str, Tensor]:
        return {"width": torch.tensor(self.width)}

    def load(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        self.width = int(state["width"])
