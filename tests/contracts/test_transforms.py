"""Every transform declares what it makes, makes that, alike whenever asked, and of each example on its own."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import plugins
from pipeline.data.transform import Transform
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec

ROOM = "data.transforms"
FIELDS = (
    FieldSpec.usual("x", "image", (3, 64, 128)),
    FieldSpec.usual("x", "waveform", (2, 16_384)),
    FieldSpec.usual("x", "mask", (1, 64, 64)),
    FieldSpec.usual("x", "rows", (16,)),
    FieldSpec.usual("x", "text", (9,)),
)
NUMBERS = np.array([7, 0, 12], dtype=np.int64)


@pytest.fixture(params=plugins.names(ROOM))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def opened(name: str) -> Transform[Settings]:
    return plugins.load(ROOM, {"name": name})


def takes(name: str) -> list[FieldSpec]:
    """The usual fields that it takes as it is set by default."""
    found: list[FieldSpec] = []
    for each in FIELDS:
        with contextlib.suppress(ValueError):
            opened(name).field(each)
            found.append(each)
    return found


def examples(of: FieldSpec) -> Array:
    drawn = np.random.default_rng(3)
    if of.dtype == "uint8":
        return drawn.integers(0, 256, (len(NUMBERS), *of.shape), np.uint8)
    return drawn.uniform(-1, 1, (len(NUMBERS), *of.shape)).astype(np.float32)


def made(name: str, of: FieldSpec, rows: slice | NDArray[np.int64] = slice(None)) -> Array:
    values = examples(of)
    before = values.copy()
    found = opened(name)(values[rows], NUMBERS[rows])
    assert np.array_equal(values, before), "what it is given stays"
    return found


def test_it_takes_some_field_and_says_why_not_another(name: str) -> None:
    assert isinstance(opened(name), Transform)
    assert takes(name)
    assert len(takes(name)) < len(FIELDS)


def test_it_makes_what_it_declares(name: str) -> None:
    for of in takes(name):
        spec, found = opened(name).field(of), made(name, of)
        assert found.shape == (3, *spec.shape)
        assert found.dtype == spec.dtype
        assert np.isfinite(found).all()
        assert spec.flips in (False, of.flips), "what is no image does not become one"
        assert opened(name)(np.zeros((0, *of.shape), of.dtype), NUMBERS[:0]).shape == (0, *spec.shape)


def test_each_example_is_its_own(name: str) -> None:
    for of in takes(name):
        whole = made(name, of)
        assert np.array_equal(whole, made(name, of))
        backwards = np.array([2, 1, 0])
        assert np.array_equal(whole[::-1], made(name, of, backwards))
        assert np.array_equal(whole[1:2], made(name, of, slice(1, 2)))


def test_what_flips_may_be_made_before_or_after_the_flip(name: str) -> None:
    """Readers make it before; where nothing is drawn, both are the same but for rounding."""
    for of in takes(name):
        if opened(name).field(of).flips and not hasattr(opened(name).config, "seed"):
            first = made(name, of)[..., ::-1]
            second = opened(name)(np.ascontiguousarray(examples(of)[..., ::-1]), NUMBERS)
            assert int(np.abs(first.astype(int) - second).max()) <= 1
