"""What a population may search is said before any work: only what can change while a member trains."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from pipeline import params as whole
from pipeline.errors import SettingsError
from pipeline.params.space import unsteady
from pipeline.preflight.fits import fits
from pipeline.settings import override
from pipeline.types import DataSpec

RATE = {"loguniform": [1e-4, 1e-2]}
RAW: dict[str, Any] = {
    "families": {"dcgan": {"preset": "smoke"}, "biggan": {"preset": "smoke"}},
    "train": {"family": "dcgan"},
    "tune": {"trials": 4, "mode": "population", "space": {"families.dcgan.generator.lr": RATE}},
}


def check(**keys: Any) -> whole.Params:
    return whole.check(override(RAW, {key.replace("__", "."): value for key, value in keys.items()}))


def space(**keys: Any) -> whole.Params:
    return check(tune__space={key.replace("__", "."): value for key, value in keys.items()})


def test_rates_betas_and_weights_of_penalties_may_be_searched() -> None:
    found = space(
        families__dcgan__generator__lr=RATE,
        families__dcgan__discriminator__beta1={"choice": [0.0, 0.5]},
        families__dcgan__penalties__r1__gamma={"uniform": [0.1, 2.0]},
        families__r3gan__generator__lr=RATE,
    )
    assert found.tune.mode == "population"


REFUSED = {
    "a width": (
        {"families__dcgan__generator_width": {"choice": [4, 8, 12]}},
        r"tune\.space\.families\.dcgan\.generator_width: with 4, the shape of generator\.\S+ would change from \S+ .*"
        r"set it above, or take tune\.mode: repeatable",
    ),
    "the end of a range alone": (
        {"families__dcgan__penalties__r1__every": {"randint": [4, 5]}},
        r"every: with 5, the optimiser|every: with 5, `every` of the phase penalty would change from 4",
    ),
    "the batch": ({"train__batch_size": {"choice": [32, 64]}}, r"tune\.space\.train\.batch_size: cannot change while"),
    "the lanes": ({"train__lanes": {"choice": [2, 4]}}, r"tune\.space\.train\.lanes: cannot change while a member"),
    "the average": ({"train__averaging__half_life": {"uniform": [1.0, 2.0]}}, "half_life: cannot change while"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_change_is_refused_within_a_second(name: str) -> None:
    searched, why = REFUSED[name]
    space(families__dcgan__generator__lr=RATE)  # what is imported on the way
    began = time.monotonic()
    with pytest.raises(SettingsError, match=why):
        space(**searched)
    assert time.monotonic() - began < 1


def test_the_family_cannot_change() -> None:
    raw = override(RAW, {"tune.space": {"train.family": {"choice": ["dcgan", "biggan"]}}})
    del raw["train"]["family"]
    with pytest.raises(
        SettingsError, match=r"tune\.space\.train\.family: cannot change while a member of a population"
    ):
        whole.check(raw)


def test_other_modes_may_search_all_of_it() -> None:
    searched = {"families.dcgan.generator_width": {"choice": [4, 8]}, "train.averaging.half_life": {"uniform": [1, 2]}}
    assert check(tune__mode="repeatable", tune__space=searched).tune.space
    assert check(tune__trials=0, tune__space=searched).tune.trials == 0, "nothing is searched"


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"tune__trials": 1}, "tune.trials: 1 is no population; it must be 2 or more"),
        ({"tune__interval": 15_360}, "tune.interval: 15360 leaves no round before examples: 15360"),
        ({"tune__interval": 5_000}, "tune.interval: 5000 is not a multiple of train.tick: 2560"),
    ],
)
def test_rounds_fit_the_clock(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        check(**keys)
    assert check(**{**keys, "tune__mode": "repeatable"}).tune.mode == "repeatable"
    assert check(tune__first_rung=100_000_000).tune.mode == "population", "rungs are another mode's"


WIDTHS: dict[str, Any] = {
    "train__family": "wavegan",
    "families__wavegan": {"preset": "smoke"},
    "tune__space": {"families.wavegan.width": {"choice": [1, 2]}},
}


def test_designs_of_every_modality_are_compared_at_once() -> None:
    with pytest.raises(SettingsError, match=r"tune\.space\.families\.wavegan\.width: with \d, the shape of"):
        check(**WIDTHS)


def test_the_real_data_are_asked_before_work_starts() -> None:
    """What no stand-in shows is compared when the shards' shape is known."""
    plain = check(**WIDTHS, tune__mode="repeatable")
    found = replace(plain, tune=plain.tune.model_copy(update={"mode": "population"}))
    spec = DataSpec("waveform", (1, 16384), ("a", "b"), "float32", rate=16_000)
    assert [line.partition(": ")[0] for line in unsteady(found, spec)] == ["tune.space.families.wavegan.width"]
    with pytest.raises(SettingsError, match=r"tune\.space\.families\.wavegan\.width: with \d, the shape of"):
        fits(found, spec)
