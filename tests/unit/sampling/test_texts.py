"""Samples by sentence: from Python, from the command line and from a served model; and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zerosum as zs
from pipeline import captions, plugins
from pipeline.cli import generate as work
from pipeline.errors import UserError
from pipeline.formats.model import ModelCard, save_model
from pipeline.sampling import texts
from pipeline.sampling.samples import open_model
from pipeline.types import DataSpec, DataSummary, FieldSpec, TextSummary

WORDS = (("a", 9), ("bird", 9), ("red", 4), ("blue", 4))
SPEC = DataSpec(
    "image",
    (3, 16, 16),
    fields=(FieldSpec("text", "text", (2, 30), "uint8", False),),
    summary=DataSummary({}, {"text": TextSummary(9, WORDS)}),
)


def publish(folder: Path, name: str = "text_to_image", **keys: Any) -> Path:
    torch.manual_seed(0)
    family = plugins.load("families", {"name": name, **keys})
    spec = SPEC if name == "text_to_image" else DataSpec("image", (3, 16, 16))
    networks = family.build(spec)
    states = {each: networks[each].state_dict() for each in family.averaged}
    config = family.config.model_dump(mode="json")
    save_model(folder, ModelCard(name, config, DataSpec.from_json(spec.to_json()), (), 64, 1, 0, True, {}, {}), states)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    encoder = {"name": "bag_of_words", "dimension": 16}
    return publish(tmp_path / "model", preset="smoke", encoder=encoder, projected=16)


def test_a_sample_is_of_its_sentence(model: Path) -> None:
    opened = zs.load(model)
    red, blue, both = (
        opened.sample(4, text=said) for said in ("a red bird", "a blue bird", ["a red bird", "a blue bird"])
    )
    assert red.shape == (4, 3, 16, 16)
    assert not np.array_equal(red, blue)
    assert np.array_equal(both[::2], red[::2])
    assert np.array_equal(both[1::2], blue[1::2])
    assert np.array_equal(opened.sample(4, text=" a  red\nbird\ud800 "), red), "white space says nothing"
    assert opened.picture(2, 3, text="a red bird").size[0] > 0


def test_what_a_model_learnt_of_words_is_published_with_it(model: Path) -> None:
    source, card = open_model(model)
    assert card.networks == ("encoder", "generator")
    found = source.networks["encoder"](torch.from_numpy(captions.packed(["red bird", "frog"], 2, 30)).long())
    assert found[0].count_nonzero() == 2
    assert found[1].count_nonzero() == 0


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ([], "at least one"),
        ([""], "holds no word"),
        (["a bird", " !? "], "number 1"),
        ([3], "is a int"),
        (["a" * 31], "31 bytes, and this model reads 30"),
        (["a" * 10_000], "10000 bytes"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(model: Path, said: list[Any], says: str) -> None:
    source, _ = open_model(model)
    with pytest.raises(UserError, match=says):
        texts.drawing(source, said)


def test_a_model_that_reads_text_needs_some_and_another_takes_none(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give text="):
        zs.load(model).sample(2)
    plain = zs.load(publish(tmp_path / "gan", "gan", latent=4))
    with pytest.raises(UserError, match="text: this gan model reads no text"):
        plain.sample(2, text="a red bird")


# --- the command line -------------------------------------------------------------------------------------------


def asked(*said: str) -> work.SampleRequest:
    return work.SampleRequest(0, 1.0, texts=said)


def test_generate_draws_sentences_in_turn_and_says_which(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    work.generate(str(model), out, 3, asked("a red bird", "=blue bird"))
    drawn = zs.load(model).sample(3, text=["a red bird", "=blue bird"])
    for index in range(3):
        with Image.open(out / f"{index:05d}.png") as image:
            assert np.array_equal(np.moveaxis(np.asarray(image), -1, 0), drawn[index])
    with (out / "captions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["00000.png", "00001.png", "00002.png"]
    assert [row["caption"] for row in rows] == ["a red bird", "'=blue bird", "a red bird"]


def test_generate_without_a_sentence_and_of_a_model_without_words_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--text"):
        work.generate(str(model), tmp_path / "out", 2, work.SampleRequest(0, 1.0))
    plain = publish(tmp_path / "gan", "gan", latent=4)
    with pytest.raises(UserError, match="--text: this gan model reads no text"):
        work.generate(str(plain), tmp_path / "out", 2, asked("a red bird"))
    assert not (tmp_path / "out").exists()


def test_sentences_come_from_a_file_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "said.txt"
    file.write_bytes("\ufeffa red bird\r\n\n  une fleur dorée \n".encode())
    assert work.sentences(None, file) == ("a red bird", "une fleur dorée")
    assert work.sentences(["x"], None) == ("x",)
    assert work.sentences(None, None) is None
    with pytest.raises(UserError, match="give one of them"):
        work.sentences(["x"], file)
    for data, says in ((b"\n \n", "holds no sentence"), ("é".encode("utf-16"), "UTF-8")):
        file.write_bytes(data)
        with pytest.raises(UserError, match=says):
            work.sentences(None, file)
    with pytest.raises(UserError, match="--texts"):
        work.sentences(None, tmp_path / "none.txt")
