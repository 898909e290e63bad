"""`tune.space` as Optuna sees it: branches for the chosen family, exact ranges."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.search.settings import Range
from pipeline.search.spaces import active, define

SPACE = {
    "families.dcgan.generator.lr": Range(loguniform=(1e-4, 1e-2)),
    "families.dcgan.latent": Range(randint=(4, 6)),
    "families.r3gan.widths": Range(choice=[[8, 8], [16, 8]]),
    "train.flip": Range(choice=[True, False]),
    "train.averaging.ramp": Range(uniform=(0.1, 0.2)),
}


def suggestions(space: dict[str, Range], family: str, count: int = 60) -> list[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggest, found = define(space, family), []
    for _ in range(count):
        trial = study.ask()
        suggest(trial)
        found.append(trial.params)
    return found


@pytest.mark.parametrize("family", ["dcgan", "r3gan", "gan"])
def test_another_familys_keys_play_no_part(family: str) -> None:
    expected = {key for key in SPACE if key.startswith("train.") or key.split(".")[1] == family}
    assert set(active(SPACE, family)) == expected
    assert all(set(found) == expected for found in suggestions(SPACE, family, 3))


def test_where_the_family_is_searched_each_trial_has_its_branch() -> None:
    space = {**SPACE, "train.family": Range(choice=["dcgan", "r3gan"])}
    found = suggestions(space, "gan")
    for each in found:
        assert set(each) == set(active(SPACE, each["train.family"])) | {"train.family"}
    assert {each["train.family"] for each in found} == {"dcgan", "r3gan"}


@settings(max_examples=20, deadline=None)
@given(st.permutations(list(SPACE)))
def test_the_order_in_which_the_settings_are_written_changes_no_trial(order: list[str]) -> None:
    """DVC compares mappings without their order, and a job's ticket is written with sorted keys."""
    space = {**SPACE, "train.family": Range(choice=["dcgan", "r3gan"])}
    mixed = {key: space[key] for key in [*order, "train.family"]}
    assert suggestions(mixed, "dcgan", 5) == suggestions(space, "dcgan", 5)


def test_ranges_hold_their_bounds() -> None:
    found = suggestions({key: SPACE[key] for key in list(SPACE)[:2]}, "dcgan", 200)
    rates = [each["families.dcgan.generator.lr"] for each in found]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-2
    assert sum(rate < 1e-3 for rate in rates) == pytest.approx(100, abs=25), "half of the factors lie below the middle"
    assert {each["families.dcgan.latent"] for each in found} == {4, 5, 6}
