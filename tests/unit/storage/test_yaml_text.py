"""YAML is read as DVC reads it, which records what a stage was run with, and what is written is read again."""

from __future__ import annotations

import ast
import math
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.storage import yaml_text

ROOT = Path(__file__).parents[3]
WORD = st.text("0123456789abefinoxyYNT.+-_:~eE", min_size=1, max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | WORD
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=8,
)


def as_dvc(text: str) -> Any:
    """What DVC takes the document for; its own error if it takes it for none."""
    return parse_yaml(text, "params.yaml")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@settings(deadline=None)
@given(WORD)
@example("010")
@example("0o17")
@example("yes")
@example("1:30")
@example("1e-4")
@example("1_000")
@example("0b11")
@example(".inf")
@example("off")
@example("~")
def test_a_plain_word_is_what_dvc_takes_it_for(word: str) -> None:
    try:
        theirs = as_dvc(f"a: {word}\n")
    except Exception:
        with pytest.raises(SettingsError):
            yaml_text.load(f"a: {word}\n", "params.yaml")
        return
    ours = yaml_text.load(f"a: {word}\n", "params.yaml")
    if isinstance(theirs, dict) and isinstance(theirs.get("a"), date):
        assert ours == {"a": word}  # a date is text here: no setting is one
        return
    assert same(ours["a"], theirs["a"])


@settings(deadline=None)
@given(VALUES)
def test_what_is_written_is_read_by_us_and_by_dvc(value: Any) -> None:
    text = yaml_text.dump({"a": value, "b": [value, value]})

    assert yaml_text.load(text, "x") == {"a": value, "b": [value, value]}
    assert as_dvc(text) == {"a": value, "b": [value, value]}


def test_keys_keep_their_order_and_lines_are_not_broken() -> None:
    value = {"z": 1, "a": {"y": 1, "b": "word " * 100}}
    text = yaml_text.dump(value)
    assert text.splitlines()[:3] == ["z: 1", "a:", "  y: 1"]
    assert len(text.splitlines()) == 4


def test_words_stay_as_they_were_written() -> None:
    assert yaml_text.load("[3, yes, 03, 1e-4, null, '']", "it", words=True) == ["3", "yes", "03", "1e-4", "null", ""]


@pytest.mark.parametrize("room", ["pipeline", "stages", "tools"])
def test_nothing_else_reads_yaml(room: str) -> None:
    readers = []
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            readers += [path.name for name in names if name.partition(".")[0] in {"yaml", "ruamel"}]
    assert set(readers) <= {"yaml_text.py"}
