from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import columns, packing
from pipeline.data.batches import Reader
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources.csv import Config, Source
from pipeline.errors import BrokenArtefact, SettingsError
from pipeline.formats.shards import Manifest
from pipeline.types import Column, DataSpec

TABLE = """age,job,income,grade,label
20,cook,10.5,1,yes
30,nurse,-2,2,no
40,cook,0.25,1,yes
50,"clerk, junior",1e2,2,no
"""


def table(path: Path, text: str = TABLE) -> Path:
    path.write_text(text)
    return path


def opened(path: Path, **settings: Any) -> Source:
    source = Source(Config(path=str(path), **settings))
    source.check()
    return source


def x_of(source: Source) -> np.ndarray[Any, Any]:
    return np.stack([source.read(entry, Limits()) for entry in source.entries() if entry.problem is None])


def problems(source: Source) -> list[str]:
    return [entry.problem[0] if entry.problem else "" for entry in source.entries()]


def test_numbers_are_scaled_and_categories_are_one_hot(tmp_path: Path) -> None:
    source = opened(table(tmp_path / "x.csv"), columns={"age": "numeric"}, label="label")
    age, job, income, grade = source.columns()
    assert (age.name, age.mean, age.std, age.whole, age.categories) == ("age", 35.0, pytest.approx(125**0.5), True, ())
    assert job.categories == ("clerk, junior", "cook", "nurse")
    assert (income.whole, income.mean) == (False, pytest.approx(27.1875))
    assert grade.categories == ("1", "2")
    assert source.native_shape() == (7,)
    assert source.classes() == ("no", "yes")
    assert [entry.label for entry in source.entries()] == ["yes", "no", "yes", "no"]
    x = x_of(source)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0], (np.array([20, 30, 40, 50]) - 35) / 125**0.5, rtol=1e-6)
    assert x[:, 1:4].tolist() == [[0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert x[:, 5:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_samples_become_rows_again(tmp_path: Path) -> None:
    source = opened(table(tmp_path / "x.csv"), columns={"age": "numeric", "grade": "ignore"}, label="label")
    noisy = x_of(source) + np.float32(0.01)
    noisy[:, 0] -= 0.01
    rows = columns.rows(noisy, source.columns())
    assert [(age, job) for age, job, _ in rows] == [(20, "cook"), (30, "nurse"), (40, "cook"), (50, "clerk, junior")]
    assert [type(age) for age, _, _ in rows] == [int] * 4
    np.testing.assert_allclose([income for *_, income in rows], [10.5, -2, 0.25, 100], atol=0.5)
    for row, x in zip(columns.rows(x_of(source), source.columns()), x_of(source), strict=True):
        np.testing.assert_allclose(columns.encoded(row, source.columns()), x, atol=1e-5)
    assert source.passed_over() == (("grade", "an ignored column"),)


@pytest.mark.parametrize(
    ("values", "categorical"),
    [
        (["1", "2", "3"], True),
        ([str(n) for n in range(11)], False),
        (["1", "2.5", "3"], False),
        (["1", "x"], True),
        (["0.5", "NA", ""], False),
        (["1e999", "0.5"], True),
        (["1_000", "0.5"], True),
    ],
)
def test_what_a_column_is_by_its_values(values: list[str], categorical: bool, tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "a,b\n" + "".join(f"{value},z\n" for value in values))
    assert bool(opened(path).columns()[0].categories) == categorical


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    text = "a,b,label\n1.5,x,u\n2.5,,u\n,y,u\nfive,y,u\n3.5,y\n4.5,y,\n9.5,y,v,more\n"
    path = table(tmp_path / "x.csv", text)
    source = opened(path, label="label", columns={"a": "numeric"})
    assert problems(source) == [
        "",
        "no value",
        "no value",
        "not a number",
        "another number of fields",
        "no label in the row",
        "another number of fields",
    ]
    assert source.columns()[0].mean == 1.5
    assert source.columns()[1].categories == ("x",)
    kept = opened(path, label="label", columns={"a": "numeric"}, missing="category")
    assert problems(kept)[:3] == ["", "", "no value"]
    assert kept.columns()[1].categories == ("", "x")


@pytest.mark.parametrize(
    ("text", "settings", "key"),
    [
        ("", {}, "path"),
        ("a,b\n", {}, "path"),
        ("a,a\n1,2\n", {}, "path"),
        ("a,\n1,2\n", {}, "path"),
        ("a,b\n1,2\n", {"columns": {"c": "numeric"}}, "columns"),
        ("a,b\n1,2\n", {"label": "c"}, "label"),
        ("a,b\n1,2\n", {"label": "a", "columns": {"b": "ignore"}}, "columns"),
        ("a\nx\ny\nz\n", {"max_categories": 2}, "columns"),
        ("a\n1\n2\n", {"max_items": 1}, "path"),
        ("a\n1\n2\n", {"max_bytes": 5}, "path"),
        ('a\n"1\n', {}, "path"),
    ],
)
def test_tables_that_are_refused(text: str, settings: dict[str, Any], key: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"ingest\.source\.{key}: "):
        opened(table(tmp_path / "x.csv", text), **settings)


def test_other_separators_and_signs(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("\ufeffa;b\r\n1,5;x\x1b[2J\r\n2,5;y\r\n".encode())
    source = opened(tmp_path / "x.csv", separator=";")
    assert [column.categories for column in source.columns()] == [("1,5", "2,5"), ("x\\x1b[2J", "y")]


def test_a_table_is_packed_with_its_columns(tmp_path: Path) -> None:
    text = "a,b,label\n" + "".join(f"{n / 2},{'xyz'[n % 3]},{'uv'[n % 2]}\n" for n in range(40))
    source = {"name": "csv", "path": str(table(tmp_path / "x.csv", text)), "label": "label"}
    packing.ingest(IngestSettings(source=source), tmp_path / "shards")
    manifest = Manifest.load(tmp_path / "shards")
    assert [column.name for column in manifest.spec.columns] == ["a", "b"]
    assert DataSpec.from_json(manifest.spec.to_json()) == manifest.spec
    reader = Reader(tmp_path / "shards", "train")
    x = reader.examples(np.arange(len(reader)))["x"]
    rows = columns.rows(x, manifest.spec.columns)
    assert {row[1] for row in rows} == {"x", "y", "z"}
    assert {round(2 * float(row[0]), 3).is_integer() for row in rows} == {True}


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "a", "categories": []},
        {"name": "a", "categories": ["x", "x"]},
        {"name": "a", "categories": ["x"], "mean": 0.0},
        {"name": "a", "mean": 0.0, "std": 0.0, "whole": True},
        {"name": "a", "mean": 0.0},
        {"name": "a", "categories": ["x", "y", "z"]},
    ],
)
def test_columns_of_a_manifest_that_are_none(changed: dict[str, Any], tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{n / 2},{'xyz'[n % 3]}\n" for n in range(20))
    source = {"name": "csv", "path": str(table(tmp_path / "x.csv", text))}
    packing.ingest(IngestSettings(source=source), tmp_path / "shards")
    path = tmp_path / "shards" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["spec"]["columns"][0] = changed
    path.write_text(json.dumps(manifest))
    with pytest.raises(BrokenArtefact, match="columns"):
        Manifest.load(tmp_path / "shards")


def test_a_spec_without_columns_is_written_as_before() -> None:
    assert "columns" not in DataSpec("rows", (3,)).to_json()
    column = Column("a", ("x", "y"))
    assert Column.from_json(column.to_json()) == column
    assert Column.from_json(Column("b", (), 1.5, 2.0, True).to_json()) == Column("b", (), 1.5, 2.0, True)
