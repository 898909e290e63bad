"""A small table, and a published model of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import plugins
from pipeline.data import columns
from pipeline.formats.model import ModelCard, load_card, save_model
from pipeline.types import Column, DataSpec, Mode

MODES = (Mode(-0.5, 0.5, 0.5), Mode(0.5, 0.5, 0.5))
COLUMNS = (
    Column("weight", mean=70.0, std=10.0, decimals=1, modes=MODES),
    Column("job", ("-none-", "cook", "nurse"), counts=(2, 5, 3)),
    Column("age", mean=40.0, std=12.0, whole=True, masked=True, modes=MODES, counts=(8, 2)),
)
SPEC = DataSpec("rows", (6,), ("no", "yes"), "float32", columns=COLUMNS, label_column=("ill", 1))


class Rows:
    """Rows of the table, labelled."""

    spec = SPEC

    def __init__(self, count: int = 40) -> None:
        draw = np.random.default_rng(0)
        table = zip(
            draw.normal(70, 10, count).tolist(),
            draw.choice(["-none-", "cook", "nurse"], count).tolist(),
            [age if age > 25 else "" for age in draw.integers(20, 60, count).tolist()],
            strict=True,
        )
        self.x = np.stack([columns.encoded(row, COLUMNS) for row in table])
        self.label = draw.integers(0, 2, count)

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {"x": self.x[indices], "label": self.label[indices]}


def publish(folder: Path, conditional: bool) -> ModelCard:
    """An untrained ctgan of the table as a model folder."""
    torch.manual_seed(0)
    family = plugins.load("families", {"name": "ctgan", "preset": "smoke", "conditional": conditional})
    card = ModelCard("ctgan", family.config.model_dump(mode="json"), SPEC, ("generator",), 64, 1, 0, True, {}, {})
    save_model(folder, card, {"generator": family.build(SPEC)["generator"].state_dict()})
    return load_card(folder)
