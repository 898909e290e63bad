"""The crash matrix, fault × stage: one cell for each fault and each stage in the tests, all of them in `make chaos`."""

from __future__ import annotations

import random
from pathlib import Path

import matrix
import pytest

pytestmark = pytest.mark.timeout(900)


def test_the_sample_has_every_fault_and_every_stage() -> None:
    assert set(matrix.CELLS) >= matrix.SAMPLE
    assert {fault for fault, _ in matrix.SAMPLE} == set(matrix.FAULTS)
    assert {stage for _, stage in matrix.SAMPLE} == set(matrix.STAGES)


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        pytest.param(*cell, id=" × ".join(cell), marks=pytest.mark.slow if cell in matrix.SAMPLE else pytest.mark.chaos)
        for cell in matrix.CELLS
    ],
)
def test_a_cell(fault: str, stage: str, whole: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    try:
        matrix.run(whole[0], folder, fault, stage, random.Random(f"{fault}/{stage}"))
    finally:
        matrix.release(folder)
