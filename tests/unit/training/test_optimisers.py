"""Optimisers: torch's own steps, values on the clock, state that comes back bit for bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.contract import Optimiser, Player, Ramp, scheduled_value
from pipeline.training.optimisers import PlayerOptimiser

KINDS = [
    Optimiser(name="adam", lr=0.1, beta1=0.3, beta2=0.9, weight_decay=0.01),
    Optimiser(name="rmsprop", lr=0.1),
    Optimiser(name="rmsprop", lr=0.1, momentum=0.4),
    Optimiser(name="sgd", lr=0.1, momentum=0.9),
    Optimiser(name="sgd", lr=0.1),
]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def gradients(net: nn.Module, step: int) -> list[Tensor]:
    source = torch.Generator().manual_seed(step)
    return [torch.randn(parameter.shape, generator=source) for parameter in net.parameters()]


def reference(settings: Optimiser, net: nn.Module) -> torch.optim.Optimizer:
    lr, decay, momentum = 0.1, settings.weight_decay, scheduled_value(settings.momentum, 0)
    if settings.name == "adam":
        betas = (scheduled_value(settings.beta1, 0), scheduled_value(settings.beta2, 0))
        return torch.optim.Adam(net.parameters(), lr, betas, weight_decay=decay)
    if settings.name == "rmsprop":
        return torch.optim.RMSprop(net.parameters(), lr, momentum=momentum)
    return torch.optim.SGD(net.parameters(), lr, momentum)


@pytest.mark.parametrize("settings", KINDS, ids=lambda each: f"{each.name}-{each.momentum}")
def test_steps_are_torchs(settings: Optimiser) -> None:
    ours, theirs = network(), network()
    player = PlayerOptimiser(Player("p", ("net",), settings), {"net": ours})
    other = reference(settings, theirs)
    for step in range(5):
        player.step(gradients(ours, step), step)
        for parameter, gradient in zip(theirs.parameters(), gradients(theirs, step), strict=True):
            parameter.grad = gradient
        other.step()
    for mine, his in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, his, rtol=1e-6, atol=1e-7)
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("settings", KINDS, ids=lambda each: f"{each.name}-{each.momentum}")
@pytest.mark.parametrize("before", [0, 3])
def test_state_comes_back_bit_for_bit(settings: Optimiser, before: int) -> None:
    first, second = network(), network()
    one = PlayerOptimiser(Player("p", ("net",), settings), {"net": first})
    two = PlayerOptimiser(Player("p", ("net",), settings), {"net": second})
    for step in range(before):
        one.step(gradients(first, step), step)
    two.step(gradients(second, 99), 99)  # a memory that `load` has to forget
    saved = {name: tensor.clone() for name, tensor in one.state().items()}
    assert all(name.startswith("net/") for name in saved)
    second.load_state_dict(first.state_dict())
    two.load(saved)
    for step in range(before, before + 3):
        one.step(gradients(first, step), step)
        two.step(gradients(second, step), step)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert {name: value.tolist() for name, value in one.state().items()} == {
        name: value.tolist() for name, value in two.state().items()
    }


def test_loading_copies() -> None:
    net = network()
    player = PlayerOptimiser(Player("p", ("net",), KINDS[0]), {"net": net})
    player.step(gradients(net, 0), 0)
    saved = {name: tensor.clone() for name, tensor in player.state().items()}
    player.load(saved)
    player.step(gradients(net, 1), 1)
    assert saved["net/0.weight//step"].item() == 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 0.775, 0.55, 0.1, 0.1]),
        ("cosine", [1.0, 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2, 0.55, 0.1, 0.1]),
        ("geometric", [1.0, 10**-0.25, 10**-0.5, 0.1, 0.1]),
    ],
)
def test_schedules_have_closed_forms(shape: Any, expected: list[float]) -> None:
    ramp = Ramp(start=1.0, end=0.1, examples=400, shape=shape)
    assert [scheduled_value(ramp, seen) for seen in (0, 100, 200, 400, 900)] == pytest.approx(expected)


def test_rates_are_set_from_the_clock_before_each_step() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    ramp = Ramp(start=1.0, end=0.0, examples=10)
    player = PlayerOptimiser(Player("p", ("net",), Optimiser(name="sgd", lr=ramp)), {"net": net})
    places: list[float] = []
    for seen in (0, 5, 10, 20):
        player.step([torch.ones(1, 1)], seen)
        places.append(net.weight.item())
    assert places == [-1.0, -1.5, -1.5, -1.5]


def test_betas_move_too() -> None:
    """At beta1 = 0 Adam's first steps have the size of lr; a moving beta1 changes the second."""
    ramp = Ramp(start=0.0, end=0.5, examples=1)
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    player = PlayerOptimiser(Player("p", ("net",), Optimiser(lr=1.0, beta1=ramp, beta2=0.0)), {"net": net})
    player.step([torch.ones(1, 1)], 0)
    player.step([torch.zeros(1, 1)], 1)
    # m = 0.5·1 + 0.5·0, bias-corrected by 1 - 0.5²; v = 0, so the step is m/(0 + eps): huge.
    assert net.weight.item() < -1e6


def test_a_player_owns_several_networks() -> None:
    nets: dict[str, nn.Module] = {"a": nn.Linear(1, 1), "b": nn.Linear(1, 1), "c": nn.Linear(1, 1)}
    player = PlayerOptimiser(Player("p", ("a", "c"), KINDS[4]), nets)
    assert list(player.parameters) == ["a/weight", "a/bias", "c/weight", "c/bias"]
