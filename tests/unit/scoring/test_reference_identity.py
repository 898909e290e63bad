"""A reference is known by what was measured, not by where its weights lay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from inceptions import random_state
from measured_toys import Halves
from safetensors.torch import save_file

from pipeline.formats.reference import Reference
from pipeline.networks.architectures.inception import fold
from pipeline.scoring.reference import measure
from pipeline.scoring.settings import ReferenceSettings


@pytest.mark.slow
def test_weights_at_another_path_are_the_same_stick(tmp_path: Path) -> None:
    weights = fold(random_state())
    train, holdout = Halves(6, 0), Halves(4, 1)
    found: list[Reference] = []
    for number, batch_size in enumerate((1, 2)):
        path = tmp_path / f"place {number}" / "weights.safetensors"
        path.parent.mkdir()
        save_file(weights, path)
        extractor = {"name": "inception", "weights": str(path), "tap": 64, "batch_size": batch_size}
        settings = ReferenceSettings(extractor=extractor)
        found.append(measure(settings, train, holdout, tmp_path / f"reference {number}", "0" * 64))
    assert found[0].key == found[1].key
    assert found[0].card.resize == "legacy_torch"
    assert "place" not in (found[0].folder / "reference.json").read_text()
    seen = found[1].extractor().features(torch.zeros(1, 1, 8, 8))[0]
    assert seen.shape == (1, 64)
