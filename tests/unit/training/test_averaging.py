"""The moving average against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.training.averaging import Average
from pipeline.training.settings import Averaging


def linear(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def weight(average: Average) -> float:
    return float(next(average.networks["generator"].parameters()))


def moved(settings: Averaging, steps: int, examples: int) -> float:
    """From 0 towards a live weight of 1."""
    networks: dict[str, nn.Module] = {"generator": linear(0.0)}
    average = Average(networks, ["generator"], settings)
    nn.init.constant_(next(networks["generator"].parameters()), 1.0)
    for step in range(1, steps + 1):
        average.update(step * examples, examples)
    return weight(average)


@pytest.mark.parametrize(("steps", "examples"), [(1, 1000), (10, 100), (100, 10)])
def test_half_is_left_after_a_half_life_whatever_the_batch(steps: int, examples: int) -> None:
    assert moved(Averaging(half_life=1000, ramp=None), steps, examples) == pytest.approx(0.5, rel=1e-5)


def test_old_weights_decay_by_the_closed_form() -> None:
    found = moved(Averaging(half_life=300, ramp=None), steps=7, examples=64)
    assert found == pytest.approx(1 - 0.5 ** (7 * 64 / 300), rel=1e-5)


def test_the_ramp_shortens_the_half_life_at_first() -> None:
    """At s examples it is min(half_life, ramp·s): karras et al. 2018's ramp-up."""
    left = 1.0
    for step in range(1, 41):
        left *= 0.5 ** (10 / min(100, 0.5 * step * 10))
    assert moved(Averaging(half_life=100, ramp=0.5), steps=40, examples=10) == pytest.approx(1 - left, rel=1e-5)


def test_buffers_move_with_their_weights_and_counters_are_copied() -> None:
    norm = nn.BatchNorm1d(2)
    average = Average({"generator": norm}, ["generator"], Averaging(half_life=10, ramp=None))
    norm.train()
    norm(torch.tensor([[0.0, 10.0], [2.0, 30.0]]))
    average.update(10, 10)
    copy = average.networks["generator"]
    assert isinstance(copy, nn.BatchNorm1d)
    assert copy.running_mean is not None
    assert copy.running_mean.tolist() == pytest.approx([0.05, 1.0])
    assert int(copy.num_batches_tracked or 0) == 1
    assert not copy.training
    assert not any(parameter.requires_grad for parameter in copy.parameters())


def test_only_named_networks_are_averaged() -> None:
    average = Average({"generator": linear(1.0), "discriminator": linear(1.0)}, ["generator"], Averaging())
    assert list(average.networks) == ["generator"]
    Average({"discriminator": linear(1.0)}, [], Averaging()).update(10, 10)
