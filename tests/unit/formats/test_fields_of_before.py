"""Models that were published before fields had types of their own: their cards open, and give the same samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import plugins
from pipeline.formats.model import ModelCard, save_model
from pipeline.sampling.samples import open_model
from pipeline.storage import files
from pipeline.types import DataSpec, like_x

SHAPE = (3, 16, 16)


def inputs_of(field: str) -> dict[str, NDArray[np.uint8]]:
    return {field: np.random.default_rng(5).integers(0, 256, (64, *SHAPE), np.uint8)}


@pytest.mark.parametrize(("name", "field"), [("pix2pix", "pair"), ("cyclegan", "unpaired")])
def test_a_translator_opens_by_its_older_card(name: str, field: str, tmp_path: Path) -> None:
    family = plugins.load("families", {"name": name, "preset": "smoke"})
    spec = DataSpec("image", SHAPE, fields=like_x({field: SHAPE}))
    torch.manual_seed(0)
    built = family.build(spec)
    card = ModelCard(name, family.config.model_dump(mode="json"), spec, (), 64, 1, 0, True, {}, {})
    save_model(tmp_path, card, {each: built[each].state_dict() for each in family.averaged})
    found = open_model(tmp_path, inputs=lambda numbers: inputs_of(field))[0].chunk(0, 0)
    held = json.loads((tmp_path / "model.json").read_text())
    held["spec"]["fields"] = {field: list(SHAPE)}
    files.write_json(tmp_path / "model.json", held)
    source, older = open_model(tmp_path, inputs=lambda numbers: inputs_of(field))
    assert older.spec == spec
    assert torch.equal(source.chunk(0, 0), found)
