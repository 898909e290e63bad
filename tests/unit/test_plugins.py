"""Plug-ins are found by file name; presets come first, a choice replaces whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plugins
from pipeline.errors import SettingsError

ROOT = Path(__file__).parents[2]


def test_a_room_lists_its_files_and_nothing_shared() -> None:
    listed = sorted(path.stem for path in (ROOT / "pipeline/data/sources").glob("*.py") if path.name[0] != "_")
    assert plugins.names("data.sources") == listed
    assert {"cifar10", "digits", "idx", "image_folder"} <= set(listed)
    for room in plugins.ROOMS:
        assert not [name for name in plugins.names(room) if name.startswith("_")]


@pytest.mark.parametrize(
    ("room", "settings", "sentence"),
    [
        ("families", {"name": "dcgann"}, "families.name: there is no family 'dcgann'; did you mean 'dcgan'?"),
        ("metrics", {"name": "fid"}, "metrics.name: there is no metric 'fid'; known: caption_agreement, column_pairs"),
        ("losses", {}, "losses.name: is required and missing; one of hinge, least_squares"),
        ("losses", {"name": None}, "losses.name: null is not allowed; it must be one of hinge"),
        ("losses", {"name": ["hinge"]}, "losses.name: ['hinge'] is not allowed; it must be one of hinge"),
        ("losses", {"name": "_shared"}, "losses.name: there is no loss '_shared'"),
        ("losses", {"name": "../plugins"}, "losses.name: there is no loss '../plugins'"),
        ("families", {"name": "dcgan", "preset": "digit"}, "families.preset: there is no preset 'digit'; did you mean"),
        ("families", {"name": "dcgan", "preset": ["digits"]}, "families.preset: there is no preset ['digits']"),
        ("losses", {"name": "hinge", "preset": "soft"}, "losses.preset: there is no preset 'soft'; hinge has none"),
        ("losses", {"name": "hinge", "margn": 1}, "losses.margn: unknown key; did you mean 'margin'?"),
    ],
)
def test_a_wrong_choice_is_named(room: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as raised:
        plugins.configure(room, settings)
    assert str(raised.value).startswith(sentence)


def test_the_key_it_stands_under_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^train\.loss\.margin: -1 is not allowed"):
        plugins.configure("losses", {"name": "hinge", "margin": -1}, "train.loss")
    with pytest.raises(SettingsError, match=r"^\.margin: -1 is not allowed"):
        plugins.configure("losses", {"name": "hinge", "margin": -1}, "")


def test_a_preset_comes_first_and_keys_are_laid_on_it() -> None:
    preset = plugins.configure("families", {"name": "dcgan", "preset": "digits"}).model_dump()
    changed = plugins.configure(
        "families", {"name": "dcgan", "preset": "digits", "latent": 8, "generator": {"lr": 0.5}}
    ).model_dump()
    assert changed["latent"] == 8
    assert changed["generator"] == {**preset["generator"], "lr": 0.5}
    assert changed["discriminator"] == preset["discriminator"]
    assert plugins.configure("families", {"name": "dcgan", "preset": None}).model_dump()["latent"] == 100


def test_a_plug_in_is_built_from_its_config() -> None:
    loss = plugins.load("losses", {"name": "hinge", "margin": 2.0})
    assert type(loss).__module__ == "pipeline.losses.hinge"


def test_every_preset_is_a_valid_config() -> None:
    for room in plugins.ROOMS:
        for name in plugins.names(room):
            for preset in getattr(plugins.module(room, name), "PRESETS", {}):
                plugins.configure(room, {"name": name, "preset": preset})


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": {"name": "r1", "gamma": 1}}, {"a": {"name": "r2"}}, {"a": {"name": "r2"}}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    ],
)
def test_sections_merge_and_choices_replace(base: Any, over: Any, merged: Any) -> None:
    before = repr(base)
    assert plugins.merge(base, over) == merged
    assert repr(base) == before


Tree = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6),
    max_size=3,
)


@given(base=Tree, over=Tree)
def test_what_is_laid_on_is_found_again(base: dict[str, Any], over: dict[str, Any]) -> None:
    merged = plugins.merge(base, over)
    assert plugins.merge(merged, over) == merged
    assert plugins.merge(base, {}) == base
    assert plugins.merge({}, over) == over
    assert set(merged) == set(base) | set(over)
