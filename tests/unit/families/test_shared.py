from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plugins
from pipeline.contract import Optimiser, Ramp, scheduled_value
from pipeline.errors import SettingsError
from pipeline.families import _geometry, _shared


@pytest.mark.parametrize(
    ("resolution", "base", "levels"),
    [
        ((64, 64), (4, 4), 4),
        ((16, 16), (4, 4), 2),
        ((28, 28), (7, 7), 2),
        ((68, 56), (17, 14), 2),
        ((48, 48), (3, 3), 4),
        ((256, 128), (8, 4), 5),
        ((12, 96), (3, 24), 2),
    ],
)
def test_base_and_levels(resolution: tuple[int, ...], base: tuple[int, ...], levels: int) -> None:
    assert _geometry.find_base("dcgan", resolution, None, 3) == (base, levels)


@given(base=st.tuples(st.integers(1, 20), st.integers(1, 20)), levels=st.integers(1, 5))
def test_given_levels_give_their_base_back(base: tuple[int, int], levels: int) -> None:
    resolution = (base[0] * 2**levels, base[1] * 2**levels)
    assert _geometry.find_base("dcgan", resolution, levels, 3) == (base, levels)


@pytest.mark.parametrize(
    ("resolution", "levels", "says"),
    [
        ((68, 56), 3, "68×56 cannot be halved 3 times without a remainder; set levels to 2 or below"),
        ((17, 16), None, "17×16 is no base·2\\^k .* resize the images at ingest, for example ingest.resolution: 16$"),
        ((15, 15), 1, "15×15 cannot be halved 1 times"),
        ((4, 4), None, "set levels to 2 or below"),
    ],
)
def test_unreachable_resolutions_are_refused_with_advice(
    resolution: tuple[int, ...], levels: int | None, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        _geometry.find_base("dcgan", resolution, levels, 3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": "hing"}, r"families\.loss\.name: there is no loss 'hing'; did you mean 'hinge'\?"),
        ({"loss": {"name": "hinge", "margn": 1}}, r"families\.loss\.margn: unknown key; did you mean 'margin'"),
        ({"penalties": {"name": "r1", "gamma": -1}}, r"families\.penalties\.r1\.gamma: -1 is not allowed"),
        ({"loss": {}}, r"families\.loss\.name: is required"),
        ({"loss": 3}, "families.loss"),
    ],
)
def test_wrong_plug_in_choices_are_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        plugins.configure("families", {"name": "dcgan", **settings})


def test_a_bare_name_is_a_choice() -> None:
    config = plugins.configure("families", {"name": "dcgan", "loss": "hinge", "penalties": "r1"})
    assert config.model_dump()["loss"] == {"name": "hinge"}
    assert config.model_dump()["penalties"] == ({"name": "r1"},)


def test_lazy_adam() -> None:
    ramp = Ramp(start=0.9, end=0.99, examples=100)
    lazy = _shared.lazy(Optimiser(lr=1e-3, beta1=0.0, beta2=ramp), 4)
    assert lazy.lr == pytest.approx(0.8e-3)
    assert lazy.beta1 == 0
    assert isinstance(lazy.beta2, Ramp)
    assert lazy.beta2.start == pytest.approx(0.9**0.8)
    assert lazy.beta2.end == pytest.approx(0.99**0.8)
    assert _shared.lazy(Optimiser(), 1) == Optimiser()
    assert _shared.lazy(Optimiser(name="sgd"), 4) == Optimiser(name="sgd")


def test_ramps_on_the_clock() -> None:
    cosine = Ramp(start=2e-4, end=5e-5, examples=100, shape="cosine")
    assert scheduled_value(cosine, 0) == pytest.approx(2e-4)
    assert scheduled_value(cosine, 50) == pytest.approx(1.25e-4)
    assert scheduled_value(cosine, 1000) == pytest.approx(5e-5)
    geometric = Ramp(start=0.1, end=1e-3, examples=100, shape="geometric")
    assert scheduled_value(geometric, 50) == pytest.approx(1e-2)
    assert scheduled_value(0.3, 7) == 0.3
    with pytest.raises(ValueError, match="above 0"):
        Ramp(start=0.1, end=0.0, examples=100, shape="geometric")


def test_means_and_accuracy() -> None:
    parts = _shared.means(torch.tensor([1.0, -1.0, 3.0]), torch.tensor([-1.0, -2.0, -3.0]), signed=True)
    assert parts["real"].item() == pytest.approx(1)
    assert parts["fake"].item() == pytest.approx(-2)
    assert parts["accuracy"].item() == pytest.approx(5 / 6)
