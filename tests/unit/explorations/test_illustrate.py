"""Illustrations: which sample stands where, of what noise, and what the record says; and files that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import plugins
from pipeline.cli.explore import explore
from pipeline.contract import AnyFamily
from pipeline.errors import UserError
from pipeline.explorations import illustrate
from pipeline.explorations._shared import Findings
from pipeline.formats.model import ModelCard, save_model
from pipeline.sampling import texts
from pipeline.sampling.samples import SampleSource
from pipeline.storage import files
from pipeline.types import DataSpec, FieldSpec

SPEC = DataSpec("image", (3, 16, 16), fields=(FieldSpec("text", "text", (2, 40), "uint8", False),))


def family() -> AnyFamily:
    return plugins.load("families", {"name": "text_to_image", "preset": "smoke"})


def source() -> SampleSource:
    torch.manual_seed(0)
    built = family().build(SPEC)
    return SampleSource(family(), {name: built[name].eval() for name in family().averaged}, SPEC)


def run(folder: Path, lines: list[str], found: SampleSource | None = None, **keys: Any) -> Findings:
    (folder / "sentences.txt").write_text("\n".join(lines), encoding="utf-8")
    config = illustrate.Config(sentences=str(folder / "sentences.txt"), **keys)
    return illustrate.Exploration(config).run(found or source())


def test_each_row_is_of_its_sentence_and_columns_share_their_noise(tmp_path: Path) -> None:
    lines = [f"a bird of {number} colours" for number in range(30)]
    found = run(tmp_path, ["", *lines[:2], "  ", *lines[2:]], samples=3)
    assert [each["sentence"] for each in found.said["sentences"]] == lines
    assert found.said["sentences"][7] == {"sentence": lines[7], "sheet": "illustrations.png", "row": 7}
    ((name, sheet),) = found.pictures
    assert name == "illustrations"
    times, gap, line = 3, illustrate.GAP, illustrate.LINE
    row, column = 25, 2
    top = gap + row * (line + 16 * times + gap) + line
    left = gap + column * (16 * times + gap)
    shown = sheet[:, top : top + 16 * times : times, left : left + 16 * times : times]
    expected = texts.drawing(source(), [lines[row]]).sample(3)[column]
    assert np.array_equal(shown, expected)
    assert (sheet[:, gap : gap + line] < 128).any(), "the sentence is written above"


def test_many_sentences_are_on_several_sheets(tmp_path: Path) -> None:
    found = run(tmp_path, [f"word{number}" for number in range(illustrate.ROWS + 1)], samples=1)
    assert [name for name, _ in found.pictures] == ["illustrations-000", "illustrations-001"]
    assert found.said["sentences"][-1]["sheet"] == "illustrations-001.png"
    assert found.said["sentences"][-1]["row"] == 0


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    for lines, says in (([" ", ""], "no sentence"), (["..."], "no word"), (["x" * 50], "shorten")):
        with pytest.raises(UserError, match=says):
            run(tmp_path, lines)
    other: AnyFamily = plugins.load("families", {"name": "dcgan", "preset": "smoke", "conditional": False})
    spec = DataSpec("image", (3, 16, 16))
    with pytest.raises(UserError, match="reads no text"):
        run(tmp_path, ["a bird"], SampleSource(other, other.build(spec), spec))


def test_the_command_writes_the_sheet_and_the_record(tmp_path: Path) -> None:
    torch.manual_seed(0)
    built = family().build(SPEC)
    card = ModelCard("text_to_image", family().config.model_dump(mode="json"), SPEC, (), 64, 1, 0, True, {}, {})
    save_model(tmp_path / "model", card, {name: built[name].state_dict() for name in family().averaged})
    (tmp_path / "said.txt").write_text("a red bird\na blue bird\n")
    settings = [f"sentences={tmp_path / 'said.txt'}", "samples=2"]
    written = explore(str(tmp_path / "model"), "illustrate", tmp_path / "out", settings)
    assert {path.name for path in written} == {"illustrations.png", "explore.json"}
    record: Any = files.read_json(tmp_path / "out" / "explore.json", "it")
    assert [each["row"] for each in record["sentences"]] == [0, 1]
