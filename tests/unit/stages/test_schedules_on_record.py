"""A schedule is said, registered and shown; a search of trials looks as before."""

from __future__ import annotations

from typing import Any

from pipeline import params as whole
from pipeline.formats.search import Best
from pipeline.registry import registering
from stages import tune

RATE = "families.dcgan.generator.lr"


def test_what_is_registered_of_a_schedule() -> None:
    best = Best({RATE: 1e-3}, 0.5, 1, schedule=[{"from": 640, "overrides": {RATE: 8e-4}}])
    assert registering.searched(best) == {f"searched.{RATE}": 1e-3, f"searched.from_640.{RATE}": 8e-4}
    assert registering.searched(Best({RATE: 1e-3})) == {f"searched.{RATE}": 1e-3}
    assert registering.searched(Best({})) == {}


def test_what_is_about_to_be_searched_is_said() -> None:
    raw: dict[str, Any] = {"tune": {"space": {RATE: {"loguniform": [1e-4, 1e-2]}}}}
    assert tune.described(whole.check(raw)) == "4 trials of 15,360 examples, 2 side by side"
    raw["tune"] |= {"mode": "population", "trials": 6}
    said = tune.described(whole.check(raw))
    assert said == "a population of 6, each of 15,360 examples, compared every 5,120"
