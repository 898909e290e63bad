"""Every family gives the numbers that it gave before, or a commit says why not."""

from __future__ import annotations

import copy
import json
from typing import Any

import golden
import pytest

from pipeline import plugins

NAMES = plugins.names("families")
LIGHT = ("dcgan", "gan")  # what the quick tests play; the others take a second or two each


def kept(name: str) -> dict[str, Any]:
    return json.loads((golden.HERE / f"{name}.json").read_text(encoding="utf-8"))


def test_every_family_has_numbers_and_no_other_has() -> None:
    assert sorted(path.stem for path in golden.HERE.glob("*.json")) == sorted(NAMES), "run `make golden`"


@pytest.mark.parametrize(
    "name", [name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_eight_steps_come_to_what_they_came_to(name: str) -> None:
    assert golden.differences(golden.measured(name), kept(name)) == [], "if that is meant, run `make golden`"


def test_a_change_of_numerics_is_seen_on_any_processor() -> None:
    before = kept("dcgan")
    for foreign in (False, True):
        after = copy.deepcopy(before)
        if foreign:
            after["processor"] = {"capability": "another", "vendor": "another"}
        assert golden.differences(after, before) == []
        after["steps"][0]["generator/total"] += 0.05
        after["steps"][7].pop("generator/gradient_norm")
        after["weights"]["generator"]["norm"] *= 2
        assert len(golden.differences(after, before)) == 3


def test_a_part_more_or_less_and_another_length_are_seen() -> None:
    before = kept("gan")
    after = copy.deepcopy(before)
    after["steps"][0]["generator/new"] = 0.0
    assert golden.differences(after, before) == ["steps[0]/generator/new: 0.0, and it was None"]
    after["steps"].pop()
    assert len(golden.differences(after, before)) == 1
