"""What becomes of a table's columns: masks, pins, what is dropped, modes, and how rows are written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from pipeline.data import columns, modes, packing
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources import csv, parquet_table
from pipeline.errors import BrokenArtefact, SettingsError
from pipeline.formats.shards import Manifest
from pipeline.storage import tables
from pipeline.types import Column, DataSpec, Mode


def opened(path: Path, text: str, **settings: Any) -> csv.Source:
    path.write_text(text, encoding="utf-8")
    source = csv.Source(csv.Config(path=str(path), **settings))
    source.check()
    return source


def x_of(source: Any) -> np.ndarray[Any, Any]:
    return np.stack([source.read(entry, Limits()) for entry in source.entries() if entry.problem is None])


def spec_of(source: Any) -> DataSpec:
    return DataSpec(
        "rows",
        source.native_shape(),
        source.classes(),
        "float32",
        columns=source.columns(),
        label_column=source.label_column(),
    )


MIXED = """id,when,size,note,kind,paid,label
1,2024-01-02,0.50,,a,1,u
2,2024-01-03,,free text,b,0,v
3,2024-01-04,12.25,more text,?,1,u
4,2024-01-05,3.75,and more,a,1,v
"""


def test_a_mask_keeps_missing_numbers_apart_and_writes_them_as_missing(tmp_path: Path) -> None:
    settings = {"columns": {"id": "whole", "when": "ignore", "note": "ignore"}, "label": "label", "missing": "mask"}
    source = opened(tmp_path / "x.csv", MIXED, **settings)
    size, kind = source.columns()[1:3]
    assert (size.masked, size.width, size.counts, size.decimals) == (True, 2, (3, 1), 2)
    assert (kind.categories, kind.counts) == (("", "a", "b"), (1, 2, 1))
    x = x_of(source)
    assert x[:, 2].tolist() == [0, 1, 0, 0]
    assert x[1, 1] == 0
    spec = spec_of(source)
    names = columns.header(spec, True)
    assert names == ["id", "size", "kind", "paid", "label"]
    table = columns.table(x, spec, np.array([0, 1, 0, 1]))
    text = tables.encoded(names, columns.written(table, names, spec.columns)).decode()
    assert text.splitlines() == [
        "id,size,kind,paid,label",
        "1,0.50,a,1,u",
        "2,,b,0,v",
        "3,12.25,,1,u",
        "4,3.75,a,1,v",
    ]


def test_the_class_stands_in_its_place_and_is_left_out_of_rows_without_one(tmp_path: Path) -> None:
    source = opened(tmp_path / "x.csv", "a,y,b\n1,u,x\n2,v,z\n", label="y")
    spec = spec_of(source)
    assert spec.label_column == ("y", 1)
    assert columns.header(spec, True) == ["a", "y", "b"]
    assert columns.header(spec, False) == ["a", "b"]
    assert DataSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("column", "text", "held"),
    [
        ("when", "".join(f"2024-01-{day:02d}\n" for day in range(1, 13)), "dates"),
        ("note", "".join(f"text {n}\n" for n in range(12)), "names or free text"),
        ("both", "".join(f"{n}\n" for n in range(12)) + "a text\n", "numbers and text such as 'a text'"),
    ],
)
def test_columns_that_are_no_categories_are_refused_or_dropped(
    column: str, text: str, held: str, tmp_path: Path
) -> None:
    whole = f"a,{column}\n" + "".join(f"{n / 2},{line}\n" for n, line in enumerate(text.splitlines()))
    with pytest.raises(SettingsError, match=rf"ingest\.source\.columns: '{column}' holds {held}"):
        opened(tmp_path / "x.csv", whole, max_categories=11)
    source = opened(tmp_path / "x.csv", whole, max_categories=11, unusable="drop")
    assert [each.name for each in source.columns()] == ["a"]
    assert source.passed_over() == ((column, f"a column of {held}"),)
    assert all(entry.problem is None for entry in source.entries())


def test_pins_hold(tmp_path: Path) -> None:
    text = "a,b\n1,x\n2.5,y\n3,x\n"
    source = opened(tmp_path / "x.csv", text, columns={"a": "whole", "b": "binary"})
    assert [entry.problem[0] if entry.problem else "" for entry in source.entries()] == ["", "not a whole number", ""]
    assert [column.kind for column in source.columns()] == ["whole", "categorical"]  # the row with y is rejected
    with pytest.raises(SettingsError, match=r"ingest\.source\.columns\.b: is binary"):
        opened(tmp_path / "y.csv", text + "4,z\n", columns={"a": "numeric", "b": "binary"})


def test_what_was_inferred_can_be_pinned(tmp_path: Path) -> None:
    text = "age,is it,no\n" + "".join(f"{n},{'ab'[n % 2]},{n / 4}\n" for n in range(12))
    source = opened(tmp_path / "x.csv", text)
    assert columns.pinned(source.columns()) == '{age: whole, "is it": binary, "no": numeric}'
    again = opened(tmp_path / "x.csv", text, columns={each.name: each.kind for each in source.columns()})
    assert again.columns() == source.columns()


def test_a_column_of_one_value(tmp_path: Path) -> None:
    source = opened(tmp_path / "x.csv", "a,b,c\n0.5,x,1\n0.5,x,2\n", modes=3, columns={"c": "numeric"})
    constant = source.columns()[0]
    assert (constant.std, constant.modes) == (1.0, (Mode(0.0, 1.0, 1.0),))
    assert columns.rows(x_of(source), source.columns()) == [(0.5, "x", 1), (0.5, "x", 2)]


def test_a_parquet_table_is_the_csv_of_the_same_rows(tmp_path: Path) -> None:
    text = "a,b,c,y\n" + "".join(f"{n / 4},{n},{'xyz'[n % 3]},{'uv'[n % 2]}\n" for n in range(24)) + ",7,x,u\n"
    of_text = opened(tmp_path / "x.csv", text, label="y", missing="mask")
    held = {
        "a": [*(n / 4 for n in range(24)), None],
        "b": pa.array([*range(24), 7], pa.int16()),
        "c": pa.array([*("xyz"[n % 3] for n in range(24)), "x"]).dictionary_encode(),
        "y": [*("uv"[n % 2] for n in range(24)), "u"],
        "more": [[n] for n in range(25)],
    }
    parquet.write_table(pa.table(held), tmp_path / "x.parquet")
    settings: dict[str, Any] = {"path": str(tmp_path / "x.parquet"), "label": "y", "missing": "mask"}
    with pytest.raises(SettingsError, match=r"ingest\.source\.columns: 'more' holds lists"):
        parquet_table.Source(parquet_table.Config(**settings)).check()
    source = parquet_table.Source(parquet_table.Config(**settings, columns={"more": "ignore"}))
    assert source.columns() == of_text.columns()
    assert np.array_equal(x_of(source), x_of(of_text))
    assert source.classes() == of_text.classes()
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-9])
    with pytest.raises(SettingsError, match=r"ingest\.source\.path: "):
        parquet_table.Source(parquet_table.Config(**settings)).check()
    with pytest.raises(SettingsError, match=r"raise ingest\.source\.max_bytes"):
        parquet_table.Source(parquet_table.Config(**settings, max_bytes=8)).check()


def test_modes_have_the_responsibilities_of_scikit_learn_s_mixture() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.normal(-2, 0.3, 300), draw.normal(1, 0.5, 500)])
    column = columns.numeric("a", values)
    found = modes.with_modes(column, values, 4).modes
    scaled = ((values - column.mean) / column.std)[:, None]
    mixture = BayesianGaussianMixture(
        n_components=4,
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=1e-3,
        random_state=0,
        n_init=1,
    )
    with pytest.warns(ConvergenceWarning):
        mixture.fit(scaled)
    wanted = mixture.predict_proba(scaled)[:, mixture.weights_ > 5e-3]
    density = np.stack([m.weight / m.std * np.exp(-0.5 * ((scaled[:, 0] - m.mean) / m.std) ** 2) for m in found], 1)
    shares = density / density.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, wanted / wanted.sum(1, keepdims=True), atol=1e-9)
    assert sum(mode.weight for mode in found) == pytest.approx(1.0)


def test_modes_travel_with_the_manifest_and_shards_stay_as_they_are(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{n / 2},{'xy'[n % 2]}\n" for n in range(40))
    (tmp_path / "x.csv").write_text(text)
    sums: list[set[str]] = []
    for name, count in (("plain", 0), ("modes", 3)):
        source = {"name": "csv", "path": str(tmp_path / "x.csv"), "modes": count}
        packing.ingest(IngestSettings(source=source), tmp_path / name)
        manifest = Manifest.load(tmp_path / name)
        assert bool(manifest.spec.columns[0].modes) == bool(count)
        sums.append({shard.sha256 for split in manifest.splits.values() for shard in split.shards})
    assert sums[0] == sums[1]


@pytest.mark.parametrize(
    "column",
    [
        {"name": "a", "categories": ["x"], "masked": True},
        {"name": "a", "categories": ["x"], "counts": [1, 2]},
        {"name": "a", "mean": 0.0, "std": 1.0, "whole": False, "modes": [{"mean": 0.0, "std": 0.0, "weight": 1.0}]},
        {"name": "a", "mean": 0.0, "std": 1.0, "whole": False, "decimals": 99},
    ],
)
def test_a_column_s_form_is_checked(column: dict[str, Any]) -> None:
    from pipeline.storage import forms

    data = {"modality": "rows", "shape": [1], "classes": [], "dtype": "float32", "columns": [column]}
    with pytest.raises(BrokenArtefact, match="columns"):
        forms.check(forms.SpecForm, data, "manifest.json", "ingest")


def test_names_without_a_text_and_names_that_stand_twice_say_which(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="column 2 has no name"):
        opened(tmp_path / "x.csv", "a,,b\n1,2,3\n")
    with pytest.raises(SettingsError, match="'a' names two columns"):
        opened(tmp_path / "x.csv", "a,a\n1,2\n")


def test_columns_of_older_cards_are_read() -> None:
    assert Column.from_json({"name": "a", "mean": 1.0, "std": 2.0, "whole": True}) == Column("a", (), 1.0, 2.0, True)
