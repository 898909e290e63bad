"""What the rooms that measure share in their tests: small data, and a reference measured on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from measured_toys import Halves

from pipeline.formats.reference import Reference
from pipeline.scoring import reference as measuring
from pipeline.scoring.settings import ReferenceSettings


@pytest.fixture(scope="session")
def halves() -> tuple[Halves, Halves]:
    return Halves(160, 0), Halves(48, 1)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, halves: tuple[Halves, Halves]) -> Reference:
    settings = ReferenceSettings(extractor={"name": "classifier", "examples": 1600, "width": 4, "dimension": 8})
    folder: Path = tmp_path_factory.mktemp("reference") / "reference"
    return measuring.measure(settings, *halves, folder, "ab" * 32)
