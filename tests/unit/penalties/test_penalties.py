from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline import plugins
from pipeline.contract import Penalty, Scores

W = torch.tensor([3.0, 0.0, 4.0, 0.0])
REAL = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, -1.0]])
FAKE = torch.tensor([[0.0, 2.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])


def load(name: str, **keys: Any) -> Penalty:
    return plugins.load("penalties", {"name": name, **keys})


def linear(weight: Tensor) -> Scores:
    return lambda x: x.flatten(1) @ weight


def quadratic(x: Tensor) -> Tensor:
    """½‖x‖², whose gradient is x."""
    return 0.5 * x.flatten(1).square().sum(1)


def value(penalty: Penalty, discriminator: Scores, real: Tensor = REAL, fake: Tensor = FAKE, seed: int = 0) -> float:
    return penalty(discriminator, real, fake, torch.Generator().manual_seed(seed)).item()


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_of_a_linear_discriminator_is_half_gamma_times_squared_norm(name: str) -> None:
    assert value(load(name, gamma=0.2), linear(W)) == pytest.approx(0.1 * 25)


def test_of_a_quadratic_discriminator_is_half_gamma_mean_squared_example() -> None:
    assert value(load("r1", gamma=3.0), quadratic) == pytest.approx(1.5 * (5 + 2) / 2)
    assert value(load("r2", gamma=3.0), quadratic) == pytest.approx(1.5 * (4 + 1) / 2)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 5))
def test_gradient_penalty_of_a_linear_discriminator_is_one_number_at_any_alpha(seed: int, scale: float) -> None:
    unit = W / W.norm()
    assert value(load("gradient_penalty"), linear(unit), seed=seed) == pytest.approx(0, abs=1e-9)
    assert value(load("gradient_penalty"), linear(scale * unit), seed=seed) == pytest.approx(
        10 * (scale - 1) ** 2, rel=1e-3, abs=1e-5
    )


def test_gradient_penalty_lies_between_real_and_fake() -> None:
    generator = torch.Generator().manual_seed(7)
    alpha = torch.rand((2, 1), generator=generator)
    between = REAL + alpha * (FAKE - REAL)
    wanted = 10 * (between.norm(dim=1) - 1).square().mean().item()
    assert value(load("gradient_penalty"), quadratic, seed=7) == pytest.approx(wanted, rel=1e-6)


def test_one_sided_penalty_leaves_small_gradients_alone() -> None:
    assert value(load("gradient_penalty", one_sided=True), linear(0.1 * W)) == 0
    assert value(load("gradient_penalty", one_sided=True), linear(W)) == pytest.approx(160)


def test_dragan_of_a_linear_discriminator() -> None:
    assert value(load("dragan", weight=2.0), linear(W)) == pytest.approx(2 * 16)


@pytest.mark.parametrize("name", plugins.names("penalties"))
def test_a_flat_discriminator_gives_no_nan_in_the_double_backward(name: str) -> None:
    weight = torch.zeros(4, requires_grad=True)
    total = load(name)(linear(weight), REAL, FAKE, torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(total, weight)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", plugins.names("penalties"))
def test_gradient_reaches_the_discriminator_and_stops_before_the_generator(name: str) -> None:
    weight = W.clone().requires_grad_(True)
    source = FAKE.clone().requires_grad_(True)
    total = load(name)(linear(weight), REAL, source * 2, torch.Generator().manual_seed(0))
    at_weight, at_source = torch.autograd.grad(total, (weight, source), allow_unused=True)
    assert at_weight.abs().sum() > 0
    assert at_source is None


@pytest.mark.parametrize("name", [n for n in plugins.names("penalties") if not load(n).needs_fake])
def test_one_that_needs_no_fake_ignores_it(name: str) -> None:
    penalty = load(name)
    assert value(penalty, quadratic) == value(penalty, quadratic, fake=FAKE + 1)


def test_norm_is_over_all_numbers_of_an_image() -> None:
    image = torch.full((2, 3, 4, 4), 0.5)
    assert value(load("r1", gamma=2.0), quadratic, real=image) == pytest.approx(48 * 0.25)
