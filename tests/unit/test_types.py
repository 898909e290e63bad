"""What the data is, as JSON: today's form, and the one of before fields had types of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import BrokenArtefact
from pipeline.storage import forms
from pipeline.types import DataSpec, FieldKind, FieldSpec, like_x

FIELDS = (
    FieldSpec("mask", "mask", (1, 8, 8), "uint8", True),
    FieldSpec("age", "label", (), "int64", False),
    FieldSpec("other", "image", (1, 4, 4), "uint8", True, "other_domain"),
    FieldSpec("low", "image", (3, 4, 4), "uint8", True, "derived", "x", '{"factor": 2, "name": "downscale"}'),
)
OLDER: dict[str, Any] = {
    "modality": "image",
    "shape": [3, 16, 16],
    "classes": [],
    "dtype": "uint8",
    "fields": {"pair": [1, 16, 16], "unpaired": [3, 8, 8]},
}


def checked(data: dict[str, Any]) -> DataSpec:
    through: dict[str, Any] = json.loads(json.dumps(data))
    forms.check(forms.SpecForm, through, Path("model.json"), "the train stage")
    return DataSpec.from_json(through)


def test_fields_survive_json() -> None:
    spec = DataSpec("image", (3, 8, 8), ("a", "b"), fields=FIELDS)
    assert checked(spec.to_json()) == spec
    assert hash(checked(spec.to_json())) == hash(spec)


def test_data_without_fields_has_the_json_it_had() -> None:
    assert DataSpec("image", (1, 8, 8), ("a",)).to_json() == {
        "modality": "image",
        "shape": [1, 8, 8],
        "classes": ["a"],
        "dtype": "uint8",
    }


def test_fields_of_before_are_of_the_kind_of_x() -> None:
    spec = checked(OLDER)
    assert spec.fields == (
        FieldSpec("pair", "image", (1, 16, 16), "uint8", True),
        FieldSpec("unpaired", "image", (3, 8, 8), "uint8", True, "other_domain"),
    )
    sounds = checked({**OLDER, "modality": "waveform", "dtype": "float32", "shape": [1, 9], "fields": {"pair": [1, 9]}})
    assert sounds.fields == (FieldSpec("pair", "waveform", (1, 9), "float32", False),)


def test_fields_are_found_by_name_and_by_where_they_come_from() -> None:
    spec = DataSpec("image", (3, 8, 8), fields=FIELDS)
    assert spec.field("x") == FieldSpec("x", "image", (3, 8, 8), "uint8", True)
    assert spec.field("age") == FIELDS[1]
    assert spec.field("nothing") is None
    assert spec.field_shape("low") == (3, 4, 4)
    assert (spec.stored, spec.other_domain, spec.derived) == (FIELDS[:2], FIELDS[2], FIELDS[3:])


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"kind": "smell"}, "kind"),
        ({"dtype": "float64"}, "dtype"),
        ({"shape": [0]}, "shape"),
        ({"shape": [2**20, 2**11]}, "fields"),
        ({"name": "x"}, "fields"),
        ({"name": "../a"}, "name"),
        ({"name": "a" * 21}, "name"),
        ({"source": "derived"}, "fields"),
        ({"of": "x", "transform": {}}, "fields"),
        ({"of": "x"}, "fields"),
        ({"flips": 1}, "flips"),
        ({"colour": "red"}, "colour"),
        ({"source": "derived", "of": "age", "transform": {}}, "fields"),
    ],
)
def test_a_field_of_another_form_is_refused(change: dict[str, Any], where: str) -> None:
    field = {**FIELDS[0].to_json(), **change}
    with pytest.raises(BrokenArtefact, match=f"fields.*{where}|{where}"):
        checked({**DataSpec("image", (3, 8, 8)).to_json(), "fields": [field]})


def test_two_fields_of_one_name_and_two_other_domains_are_refused() -> None:
    plain = DataSpec("image", (3, 8, 8)).to_json()
    again = {**FIELDS[2].to_json(), "name": "again"}
    for held in ([FIELDS[0].to_json()] * 2, [FIELDS[2].to_json(), again]):
        with pytest.raises(BrokenArtefact):
            checked({**plain, "fields": held})


@pytest.mark.parametrize(
    ("kind", "stored", "expected"),
    [
        ("image", np.array([0, 51, 255], np.uint8), [-1.0, -0.6, 1.0]),
        ("mask", np.array([0, 51, 255], np.uint8), [0.0, 0.2, 1.0]),
        ("tensor", np.array([-3.5, 0, 9], np.float32), [-3.5, 0.0, 9.0]),
        ("waveform", np.array([-0.5, 0, 1], np.float32), [-0.5, 0.0, 1.0]),
        ("text", np.array([0, 70_000], np.int64), [0, 70_000]),
        ("text", np.array([0.25, -1], np.float32), [0.25, -1.0]),
        ("label", np.array([3], np.int64), [3]),
    ],
)
def test_how_each_kind_comes_in_batches(kind: FieldKind, stored: np.ndarray[Any, Any], expected: list[float]) -> None:
    values = FieldSpec("f", kind, (), stored.dtype.name, False).tensor(stored)  # pyright: ignore[reportArgumentType] (numpy's name)
    assert values.dtype == (torch.int64 if stored.dtype == np.int64 else torch.float32)
    assert torch.allclose(values.double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_like_x_flips_only_with_images() -> None:
    assert [each.flips for each in like_x({"pair": (1, 4)}, "waveform", "float32")] == [False]
    assert [each.flips for each in like_x({"pair": (1, 4, 4)})] == [True]
