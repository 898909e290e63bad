from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.architectures.wavegan import (
    WaveCritic,
    WaveGenerator,
    WavePlan,
    draw_shift,
    near_length,
    phase_shuffle,
    quadruplings,
)
from pipeline.networks.layers.conv import SameConv


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@given(length=st.integers(4, 64), shift=st.integers(-3, 3))
@settings(max_examples=60, deadline=None)
def test_phase_shuffle_keeps_the_length_and_moves_the_middle(length: int, shift: int) -> None:
    x = torch.arange(float(length)).repeat(2, 3, 1)
    moved = phase_shuffle(x, shift)
    assert moved.shape == x.shape
    inside = torch.arange(max(shift, 0), length + min(shift, 0))
    assert torch.equal(moved[..., inside], x[..., inside - shift])


def test_what_comes_in_is_reflected() -> None:
    x = torch.arange(5.0)[None, None]
    assert phase_shuffle(x, 2).flatten().tolist() == [2, 1, 0, 1, 2]
    assert phase_shuffle(x, -2).flatten().tolist() == [2, 3, 4, 3, 2]


def test_shifts_are_even_over_their_range() -> None:
    source = torch.Generator().manual_seed(3)
    drawn = [draw_shift(2, source) for _ in range(2000)]
    assert {value: abs(drawn.count(value) - 400) < 90 for value in (-2, -1, 0, 1, 2)} == dict.fromkeys(
        (-2, -1, 0, 1, 2), True
    )


def test_the_critic_is_the_sum_by_hand() -> None:
    """One level of one map: y[i] = Σ_k w[k]·x[4i + k − 10], scored by place."""
    plan = WavePlan(length=4, levels=1, channels=1, width=1, shuffle=0)
    critic, x = WaveCritic(plan), torch.randn(1, 1, 16)
    weight = critic.levels[0].conv.weight.flatten()
    padded = F.pad(x, (10, 11)).flatten()
    y = F.leaky_relu(torch.stack([padded[4 * i : 4 * i + 25] @ weight for i in range(4)]), 0.2)
    assert torch.allclose(critic(x), critic.score(y[None]).flatten(), atol=1e-6)


def test_dense_units_are_ordered_by_place_and_then_by_map() -> None:
    generator = WaveGenerator(WavePlan(length=4, levels=1, channels=1, width=3), 1)
    with torch.no_grad():
        generator.first.weight.copy_(torch.arange(12.0)[:, None])
    seen: list[torch.Tensor] = []
    generator.levels[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    generator(torch.ones(1, 1))
    assert seen[0][0, :, 1].tolist() == [3, 4, 5], "the maps of the second place"


def test_phases_are_shuffled_behind_four_levels_at_most() -> None:
    for levels, expected in ((3, 2), (5, 4), (6, 4)):
        critic = WaveCritic(WavePlan(length=4, levels=levels, channels=1, width=1, kernel=4, shuffle=1))
        source, twin = (torch.Generator().manual_seed(0) for _ in range(2))
        critic(torch.randn(1, 1, 4 * 4**levels), source)
        for _ in range(expected):
            draw_shift(1, twin)
        assert torch.equal(source.get_state(), twin.get_state())


def test_without_a_generator_nothing_is_shuffled() -> None:
    critic, x = WaveCritic(WavePlan(length=16, levels=2, channels=1, width=2)), torch.randn(2, 1, 256)
    assert torch.equal(critic(x), critic(x))
    assert not torch.equal(critic(x), critic(x, torch.Generator().manual_seed(2)))


def test_lengths_that_fit() -> None:
    assert [quadruplings(length, 4, 16) for length in (16_384, 65_536, 4_096, 8_192, 1_000)] == [5, 6, 4, 4, 1]
    assert near_length(1_000, 4, 4) == 1_024
    assert near_length(10, 4, 4) == 256


def test_the_filter_keeps_the_length() -> None:
    plan = WavePlan(length=16, levels=1, channels=2, width=2, filtered=512)
    assert WaveGenerator(plan, 3)(torch.randn(2, 3)).shape == (2, 2, 64)
    assert SameConv(1, 1, 512, 1, 1, False).conv.bias is None
