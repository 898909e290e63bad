"""What the ingest stage prints of the data once it is packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from stages import ingest


def pictures(root: Path, side: int, **classes: int) -> dict[str, str]:
    source = np.random.default_rng(0)
    for label, count in classes.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            pixels = source.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number:02d}.png")
    return {"name": "image_folder", "folder": str(root)}


def said(settings: IngestSettings, out: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    manifest = packing.ingest(settings, out)
    capsys.readouterr()
    ingest.describe(manifest)
    return capsys.readouterr().out.splitlines()


def test_each_note_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = pictures(tmp_path / "data", 8, cats=40, dogs=5)
    (tmp_path / "data" / "dogs" / "cat.png").write_bytes((tmp_path / "data" / "cats" / "00.png").read_bytes())
    (tmp_path / "data" / "eels").mkdir()
    (tmp_path / "data" / "eels" / "a.png").touch()
    settings = IngestSettings(source=source, resolution=64, empty_classes="drop", max_rejected_fraction=0.1)
    lines = said(settings, tmp_path / "out", capsys)
    found = {line.partition(" items ")[0] for line in lines if line.startswith("note: ") and " items " in line}
    assert found == {"note: 46 of 46", "note: 1 of 46"}
    assert any("cats/00.png" in line and "8×8 to 64×64, 8 times" in line and "notes.csv" in line for line in lines)
    assert any("dogs/cat.png is dogs" in line and "duplicates.csv" in line for line in lines)
    assert any(line.startswith("note: 1 of 3 classes has") and line.endswith(": eels") for line in lines)
    assert any("few training examples" in line and "dogs: " in line for line in lines)


def test_the_digits_need_no_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = IngestSettings(resolution=16, resize="stretch", filter="bilinear", shard_examples=512)
    lines = said(settings, tmp_path / "out", capsys)
    assert [line.partition(":")[0] for line in lines] == ["image 1×16×16, 10 classes", "train", "  0", "holdout", "  0"]
