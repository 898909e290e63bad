from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plugins
from pipeline.contract import Loss
from pipeline.errors import SettingsError

LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=6)


def load(name: str, **keys: Any) -> Loss:
    return plugins.load("losses", {"name": name, **keys})


def sp(x: float) -> float:
    return math.log1p(math.exp(x))


REAL = torch.tensor([2.0, -1.0])
FAKE = torch.tensor([0.5, -3.0])

# Discriminator and generator at REAL and FAKE, worked by hand from each paper's equation.
CLOSED: list[tuple[str, dict[str, Any], float, float]] = [
    ("minimax", {}, (sp(-2) + sp(1)) / 2 + (sp(0.5) + sp(-3)) / 2, -(sp(0.5) + sp(-3)) / 2),
    ("non_saturating", {}, (sp(-2) + sp(1)) / 2 + (sp(0.5) + sp(-3)) / 2, (sp(-0.5) + sp(3)) / 2),
    ("non_saturating", {"scale": 0.5}, (sp(-2) + sp(1) + sp(0.5) + sp(-3)) / 4, (sp(-0.5) + sp(3)) / 2),
    (
        "non_saturating",
        {"smoothing": 0.1},
        (0.9 * sp(-2) + 0.1 * sp(2) + 0.9 * sp(1) + 0.1 * sp(-1)) / 2 + (sp(0.5) + sp(-3)) / 2,
        (sp(-0.5) + sp(3)) / 2,
    ),
    ("least_squares", {}, 0.5 * ((1 + 4) / 2 + (0.25 + 9) / 2), 0.5 * (0.25 + 16) / 2),
    (
        "least_squares",
        {"fake_target": -1, "real_target": 1, "generator_target": 0},
        0.5 * ((1 + 4) / 2 + (2.25 + 4) / 2),
        0.5 * (0.25 + 9) / 2,
    ),
    ("wasserstein", {}, -1.25 - 0.5, 1.25),
    ("wasserstein", {"drift": 0.001}, -1.75 + 0.001 * 2.5, 1.25),
    ("hinge", {}, (0 + 2) / 2 + (1.5 + 0) / 2, 1.25),
    ("hinge", {"margin": 4.0}, (2 + 5) / 2 + (4.5 + 1) / 2, 1.25),
    ("relativistic", {}, (sp(-1.5) + sp(-2)) / 2, (sp(1.5) + sp(2)) / 2),
    (
        "relativistic",
        {"average": True},
        (sp(-1.25 - 2) + sp(-1.25 + 1)) / 2 + (sp(0.5 - 0.5) + sp(-3 - 0.5)) / 2,
        (sp(0.5 - 0.5) + sp(0.5 + 3)) / 2 + (sp(2 + 1.25) + sp(-1 + 1.25)) / 2,
    ),
]


@pytest.mark.parametrize(("name", "keys", "discriminator", "generator"), CLOSED)
def test_values_at_hand_picked_logits(name: str, keys: dict[str, Any], discriminator: float, generator: float) -> None:
    loss = load(name, **keys)
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(discriminator, rel=1e-6)
    assert loss.generator(REAL, FAKE).item() == pytest.approx(generator, rel=1e-6)


def test_every_loss_has_a_closed_form_here() -> None:
    assert set(plugins.names("losses")) == {name for name, *_ in CLOSED}


@pytest.mark.parametrize("name", plugins.names("losses"))
@given(real=LOGITS, fake=LOGITS)
def test_each_player_descends_towards_its_own_goal(name: str, real: list[float], fake: list[float]) -> None:
    size = min(len(real), len(fake))
    on_real = torch.tensor(real[:size], dtype=torch.float64)
    on_fake = torch.tensor(fake[:size], dtype=torch.float64).requires_grad_(True)
    loss = load(name)
    needed = on_real if loss.needs_real else None
    (gradient,) = torch.autograd.grad(loss.generator(needed, on_fake), on_fake)
    assert torch.isfinite(gradient).all()
    if name != "least_squares":  # which draws back what has overshot its target
        assert (gradient <= 0).all(), "a generator never lowers its logits"


@given(real=LOGITS, fake=LOGITS)
def test_relativistic_pairs_are_symmetric(real: list[float], fake: list[float]) -> None:
    size = min(len(real), len(fake))
    x, y = torch.tensor(real[:size]), torch.tensor(fake[:size])
    loss = load("relativistic")
    assert torch.equal(loss.discriminator(x, y), loss.generator(y, x))
    shift = loss.discriminator(x.double() + 3, y.double() + 3)
    assert shift.item() == pytest.approx(loss.discriminator(x.double(), y.double()).item(), abs=1e-9)


def test_only_relativistic_losses_look_at_reals() -> None:
    assert [name for name in plugins.names("losses") if load(name).needs_real] == ["relativistic"]
    with pytest.raises(ValueError, match="hand them in"):
        load("relativistic").generator(None, FAKE)


@pytest.mark.parametrize("name", plugins.names("losses"))
def test_extreme_logits_stay_finite(name: str) -> None:
    loss = load(name)
    far = torch.tensor([1e4, -1e4])
    assert torch.isfinite(loss.discriminator(far, -far))
    assert torch.isfinite(loss.generator(far, -far))


def test_minimax_starves_where_non_saturating_feeds() -> None:
    sure = torch.tensor([-20.0], requires_grad=True)
    (starved,) = torch.autograd.grad(load("minimax").generator(None, sure), sure)
    (fed,) = torch.autograd.grad(load("non_saturating").generator(None, sure), sure)
    assert abs(starved.item()) < 1e-8
    assert fed.item() == pytest.approx(-1)


def test_a_number_out_of_range_is_named() -> None:
    with pytest.raises(SettingsError, match=r"losses\.smoothing"):
        load("non_saturating", smoothing=0.7)


@pytest.mark.parametrize("name", plugins.names("losses"))
def test_a_signed_loss_thresholds_its_logits_at_zero(name: str) -> None:
    """Reals and fakes may change places with their signs, and a shift of all logits is no matter of indifference."""
    loss = load(name)
    value = loss.discriminator(REAL, FAKE).item()
    mirrored, shifted = loss.discriminator(-FAKE, -REAL).item(), loss.discriminator(REAL + 3, FAKE + 3).item()
    assert loss.signed == (value == pytest.approx(mirrored) and value != pytest.approx(shifted))
