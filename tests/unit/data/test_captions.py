"""Captions beside images: read, met with files, packed, counted; and what is refused, rejected or noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import captions, plugins
from pipeline.data import packing
from pipeline.data.batches import Batches, Reader
from pipeline.data.preview import preflight
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError, UserError
from pipeline.formats.shards import Manifest
from pipeline.storage import tables


def picture(folder: Path, name: str, red: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(folder / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / "data", f"{'ab'[number % 2]}/{number}.png", number * 40)
    return tmp_path / "data"


def csv_of(folder: Path, rows: list[tuple[str, str]], encoding: str = "utf-8") -> str:
    path = folder.parent / "captions.csv"
    quoted = "".join(f'{name},"{text}"\n' for name, text in rows)
    path.write_bytes(f"file,caption\n{quoted}".encode(encoding))
    return str(path)


ALL = [(f"{'ab'[number % 2]}/{number}.png", f"a red square number {number}") for number in range(6)]


def packed(folder: Path, path: str, **keys: Any) -> Manifest:
    source = {"name": "image_folder", "folder": str(folder), "captions": path, **keys}
    settings = IngestSettings(source=source, max_rejected_fraction=0.5, holdout_fraction=0.3)
    return packing.ingest(settings, folder.parent / "shards")


def test_they_are_a_field_of_every_example_and_no_flip_touches_them(folder: Path) -> None:
    more = [*ALL, ("a/0.png", "  Crimson \n  all over "), ("a/0.png", "a red square number 0")]
    manifest = packed(folder, csv_of(folder, more), captions_per_image=3, caption_length=32)
    (field,) = manifest.spec.fields
    assert (field.name, field.kind, field.shape, field.dtype, field.flips) == ("text", "text", (3, 32), "uint8", False)
    assert manifest.captions == {"pictures": 6, "captions": 7, "distinct": 7, "longest": 21, "characters": 6 * 21 + 16}
    reader = Reader(folder.parent / "shards", "train")
    batch: Any = Batches(reader, seed=1, flip=True).batch(0, 0, len(reader))
    said = {tuple(each for each in captions.unpacked(row) if each) for row in batch["text"].numpy()}
    assert all(sentences[0].startswith("a red square number") for sentences in said)
    assert batch["text"].dtype.is_signed
    everything = {sentence for sentences in said for sentence in sentences}
    assert ("Crimson all over" in everything) == ("a red square number 0" in everything)


def test_the_summary_has_the_words_of_train_alone(folder: Path) -> None:
    manifest = packed(folder, csv_of(folder, ALL))
    summary = Manifest.load(folder.parent / "shards").spec.summary
    assert summary is not None
    words = dict(summary.texts["text"].words)
    train = manifest.splits["train"].examples
    assert summary.texts["text"].captions == train == words["red"] == words["square"]
    numbers = {word for word in words if word.isdecimal()}
    assert len(numbers) == train < 6
    assert "text" not in summary.fields


def test_equal_data_gives_equal_bytes_however_the_captions_are_written(folder: Path, tmp_path: Path) -> None:
    first = packed(folder, csv_of(folder, ALL))
    one = {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir() if path.suffix == ".tar"}
    path = tmp_path / "captions.jsonl"
    lines = [json.dumps({"file_name": name.replace("/", "\\"), "text": [text]}) for name, text in ALL]
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    second = packed(folder, str(path))
    assert {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir() if path.suffix == ".tar"} == one
    assert first.captions == second.captions


def test_without_captions_nothing_changes(folder: Path) -> None:
    plain = packing.ingest(IngestSettings(source={"name": "image_folder", "folder": str(folder)}), folder.parent / "s")
    held = json.loads((folder.parent / "s" / "manifest.json").read_text())
    assert "captions" not in held
    assert not any(key.startswith("caption") or key == "long_captions" for key in held["source"])
    assert "texts" not in held["summary"]
    assert plain.spec.fields == ()


def test_what_does_not_meet_is_rejected_and_named(folder: Path) -> None:
    rows = [*ALL[1:5], ("a/gone.png", "nobody"), ("b/5.png", "  ")]
    manifest = packed(folder, csv_of(folder, rows))
    assert manifest.rejects == {"missing file": 1, "no caption": 2}
    found = tables.read(folder.parent / "shards" / "rejects.csv")
    assert {row["item"]: row["reason"] for row in found} == {
        "a/gone.png": "missing file", "a/0.png": "no caption", "b/5.png": "no caption",
    }  # fmt: skip


def test_too_many_without_a_caption_are_refused_with_a_remedy(folder: Path) -> None:
    source = {"name": "image_folder", "folder": str(folder), "captions": csv_of(folder, ALL[:3])}
    with pytest.raises(UserError, match=r"3 of 6 items cannot be used(.|\n)*no caption"):
        packing.ingest(IngestSettings(source=source), folder.parent / "shards")


def test_long_captions_are_cut_between_characters_or_rejected(folder: Path) -> None:
    long = [(name, "é" * 10_000) for name, _ in ALL[:1]] + ALL[1:]
    manifest = packed(folder, csv_of(folder, long))
    assert manifest.notes["cut_captions"]["items"] == 1
    assert manifest.captions["longest"] == 100  # 201 bytes are one hundred characters of two
    manifest = packed(folder, csv_of(folder, long), long_captions="reject")
    assert manifest.rejects == {"caption too long": 1}


def test_more_captions_than_are_kept_and_empty_ones_are_noted(folder: Path) -> None:
    rows = [*ALL, *(("a/0.png", f"again {number}") for number in range(9)), ("b/1.png", "")]
    manifest = packed(folder, csv_of(folder, rows), captions_per_image=2)
    assert {kind: noted["items"] for kind, noted in manifest.notes.items() if "captions" in kind} == {
        "more_captions": 1, "empty_captions": 1,
    }  # fmt: skip
    assert manifest.captions["captions"] == 7


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        (b"", "c.csv", "file,caption"),
        (b"picture,words\na,b\n", "c.csv", "file,caption"),
        (b"file,caption\n", "c.csv", "holds no captions"),
        ("file,caption\na/0.png,a cat\n".encode("utf-16"), "c.csv", "UTF-8"),
        (b'{"file": "a/0.png"}\n', "c.jsonl", "line 1"),
        (b'{"file": "a/0.png", "caption": "x"}\n[1]\n', "c.jsonl", "line 2"),
        (b'{"file": "a/0.png", "caption": "\\ud800"}\n', "c.jsonl", "surrogate"),
        (b"\xff\xfe", "c.jsonl", "UTF-8"),
        (b"file,caption\nnowhere.png,a cat\n", "c.csv", "no row of"),
    ],
)
def test_files_that_are_no_captions_are_refused(folder: Path, data: bytes, name: str, says: str) -> None:
    path = folder.parent / name
    path.write_bytes(data)
    source = {"name": "image_folder", "folder": str(folder), "captions": str(path)}
    with pytest.raises(SettingsError, match=says) as error:
        preflight(IngestSettings(source=source))
    assert "ingest.source.captions" in str(error.value)


def test_a_file_that_is_missing_is_refused(folder: Path) -> None:
    source = {"name": "image_folder", "folder": str(folder), "captions": str(folder / "none.csv")}
    with pytest.raises(SettingsError, match=r"ingest\.source\.captions.*does not exist"):
        preflight(IngestSettings(source=source))


def test_the_field_is_known_before_anything_is_read(folder: Path) -> None:
    source = {"name": "image_folder", "folder": str(folder), "captions": csv_of(folder, ALL), "caption_length": 60}
    (field,) = preflight(IngestSettings(source=source, resolution=8)).spec(3).fields
    assert (field.shape, field.dtype) == ((5, 60), "uint8")


def test_a_source_travels_with_its_captions(folder: Path) -> None:
    source = plugins.load(
        "data.sources", {"name": "image_folder", "folder": str(folder), "captions": csv_of(folder, ALL)}
    )
    entry = source.entries()[0]
    stored = source.fetch(entry, IngestSettings().limits)
    assert stored[1:] == (("a red square number 0",), None)
    assert source.decode_fields(stored, IngestSettings().limits)["text"].shape == (5, 201)


def test_sentences_survive_the_way_there_and_back() -> None:
    said = ["a red bird", "“Über” 鳥 🐦", ""]
    assert captions.unpacked(captions.packed(said, 4, 60)) == [*said, ""]
    assert captions.unpacked(captions.packed(["鳥鳥"], 1, 4)) == ["鳥"]
    assert captions.cleaned("e\u0301\t\x07 x\n") == "é x"
    assert captions.words("The 2nd Bird’s red-brown wing_bar") == [
        "the",
        "2nd",
        "bird",
        "s",
        "red",
        "brown",
        "wing",
        "bar",
    ]
    assert np.array_equal(captions.packed([], 1, 2), np.zeros((1, 2), np.uint8))


# --- vectors that somebody made beforehand ----------------------------------------------------------------------


def vectors_of(folder: Path, table: np.ndarray[Any, Any]) -> str:
    path = folder.parent / "vectors.npy"
    np.save(path, table)
    return str(path)


def test_vectors_go_with_their_captions(folder: Path) -> None:
    rows = [*ALL, ("a/0.png", ""), ("a/0.png", "again"), ("a/0.png", "a red square number 0")]
    table = np.arange(len(rows) * 3, dtype=np.float64).reshape(-1, 3)
    manifest = packed(folder, csv_of(folder, rows), captions_per_image=2, caption_vectors=vectors_of(folder, table))
    assert [(each.name, each.kind, each.shape, each.dtype) for each in manifest.spec.fields] == [
        ("text", "text", (2, 201), "uint8"), ("text_vectors", "tensor", (2, 3), "float32"),
    ]  # fmt: skip
    assert manifest.source["caption_vectors"] == "vectors.npy"
    found: dict[str, Any] = {}
    for split in ("train", "holdout"):
        reader = Reader(folder.parent / "shards", split)
        held = reader.examples(np.arange(len(reader)))
        for text, row in zip(held["text"], held["text_vectors"], strict=True):
            found[captions.unpacked(text)[0]] = row
    assert np.array_equal(found["a red square number 3"], [[9, 10, 11], [0, 0, 0]])
    assert np.array_equal(found["a red square number 0"], [[0, 1, 2], table[7]])


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (np.zeros((5, 3)), "has 5 rows, and .* has 6 captions"),
        (np.zeros(6), "table of floats"),
        (np.zeros((6, 3), dtype=np.int64), "table of floats"),
        (np.zeros((6, 20_000), dtype=np.float16), "at most 16384"),
    ],
)
def test_tables_that_are_no_vectors_of_these_captions_are_refused(
    folder: Path, table: np.ndarray[Any, Any], says: str
) -> None:
    keys = {"captions": csv_of(folder, ALL), "caption_vectors": vectors_of(folder, table)}
    with pytest.raises(SettingsError, match=rf"ingest\.source\.caption_vectors: .*{says}"):
        preflight(IngestSettings(source={"name": "image_folder", "folder": str(folder), **keys}))


def test_a_vector_with_nan_is_rejected(folder: Path) -> None:
    table = np.ones((6, 3))
    table[2, 1] = np.nan
    manifest = packed(folder, csv_of(folder, ALL), caption_vectors=vectors_of(folder, table))
    assert manifest.rejects == {"vector not finite": 1}


def test_vectors_without_captions_are_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match="caption_vectors"):
        plugins.load("data.sources", {"name": "image_folder", "folder": str(folder), "caption_vectors": "x.npy"})
