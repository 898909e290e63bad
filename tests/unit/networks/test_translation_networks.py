from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.networks.architectures.adversarial_cryptography import CipherNetwork
from pipeline.networks.architectures.cyclegan import Translator, TranslatorPlan
from pipeline.networks.architectures.pix2pix import PatchDiscriminator, PatchPlan, Unet, UnetPlan, receptive_field
from pipeline.networks.architectures.wavegan import (
    WaveCritic,
    WaveGenerator,
    WavePlan,
    draw_shift,
    near_length,
    phase_shuffle,
    quadruplings,
)
from pipeline.networks.blocks.image_pool import empty_pool, exchange
from pipeline.networks.layers.conv import SameConv, same_padding
from pipeline.networks.layers.dropout import Dropper


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


# --- patches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "side"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_patch_is_as_large_as_published(layers: int, side: int) -> None:
    """By counting which pixels move one logit in the middle of a network without norms."""
    assert receptive_field(layers) == side
    network = PatchDiscriminator(PatchPlan(1, 1, layers, "none")).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    x = torch.zeros(1, 1, 320, 320, dtype=torch.float64, requires_grad=True)
    logits = network(x)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
    assert len(rows) == int(rows[-1] - rows[0]) + 1 == side


def test_256_pixels_give_30_by_30_logits() -> None:
    with torch.device("meta"):
        assert PatchDiscriminator(PatchPlan(6))(torch.empty(1, 6, 256, 256)).shape == (1, 1, 30, 30)


# --- the U-Net ----------------------------------------------------------------------------------

SMALL = UnetPlan(2, 3, (4, 8, 8, 8), dropped=2)


def test_the_image_comes_back_in_its_size() -> None:
    assert Unet(SMALL)(torch.rand(2, 2, 16, 32)).shape == (2, 3, 16, 32)


def test_alone_is_training_mode_with_one_example() -> None:
    network, x = Unet(SMALL), torch.rand(3, 2, 32, 32) * 2 - 1
    nn.init.normal_(network.up[0][1].weight)
    network.train()
    with torch.no_grad():
        one_by_one = torch.cat([network(each[None]) for each in x])
        network.eval()
        together = network(x, alone=True)
        averaged = network(x)
    assert torch.allclose(together, one_by_one, atol=1e-5)
    assert not torch.allclose(together, averaged, atol=1e-2)


def test_sampling_moves_no_running_statistics() -> None:
    network = Unet(SMALL).train()
    before = [buffer.clone() for buffer in network.buffers()]
    network(torch.rand(2, 2, 16, 16), alone=True)
    assert all(torch.equal(a, b) for a, b in zip(before, network.buffers(), strict=True))


def test_every_skip_reaches_the_output() -> None:
    """Noise added to each level of the encoder alone changes the image: nothing is cut off."""
    network, x = Unet(SMALL).eval(), torch.rand(1, 2, 32, 32)
    plain = network(x, alone=True)
    for level in network.down:
        handle = level[0].register_forward_hook(lambda module, inputs, output: output + torch.randn_like(output))
        assert not torch.allclose(network(x, alone=True), plain, atol=1e-4)
        handle.remove()


def test_examples_drop_by_seeds_of_their_own() -> None:
    x = torch.ones(3, 4, 16, 16)
    first = Dropper(torch.tensor([1, 2, 1]), 0.5)(x)
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert abs(float((first == 0).float().mean()) - 0.5) < 0.05
    swapped = Dropper(torch.tensor([2, 1, 1]), 0.5)(x)
    assert torch.equal(swapped[1], first[0])


def test_each_layer_draws_anew_and_a_share_of_0_drops_nothing() -> None:
    drop, x = Dropper(torch.tensor([5]), 0.5), torch.ones(1, 8, 8, 8)
    assert not torch.equal(drop(x), drop(x))
    assert torch.equal(Dropper(torch.tensor([5]), 0.0)(x), x)


def test_dropout_stands_in_the_blocks_behind_the_innermost() -> None:
    network, seen = Unet(UnetPlan(1, 1, (2, 2, 2, 2, 2), dropped=2)), []

    class Spy(Dropper):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape[2:]))
            return x

    network(torch.rand(1, 1, 32, 32), Spy(torch.tensor([0]), 0.5))
    assert seen == [(4, 4), (8, 8)]


# --- the translator -----------------------------------------------------------------------------


def test_the_translator_keeps_the_size_and_reflects_its_borders() -> None:
    network = Translator(TranslatorPlan(1, 3, 4, 2))
    assert network(torch.rand(2, 1, 12, 20)).shape == (2, 3, 12, 20)
    padding = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.padding != (0, 0)]
    assert [layer.stride for layer in padding] == [(2, 2), (2, 2)], "only the halvings pad with zeros"


def test_biases_before_instance_norm_do_nothing() -> None:
    network, x = Translator(TranslatorPlan(1, 1, 4, 1)).double(), torch.rand(1, 1, 16, 16).double()
    before = network(x)
    with torch.no_grad():
        for module in list(network.modules())[:-3]:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.out_channels != 1:
                module.bias.add_(3.0)
    assert torch.allclose(network(x), before, atol=1e-9)


# --- the pool -----------------------------------------------------------------------------------


def test_a_pool_fills_first_and_shows_what_it_keeps() -> None:
    pool, source = empty_pool(3, (1,)), torch.Generator().manual_seed(0)
    fakes = torch.arange(3.0)[:, None]
    assert torch.equal(exchange(pool, fakes, source), fakes)
    assert torch.equal(pool["held"], fakes)
    assert int(pool["count"]) == 3


def test_of_a_full_pool_half_is_shown_and_the_fake_takes_its_place() -> None:
    pool, source = empty_pool(50, (1,)), torch.Generator().manual_seed(1)
    exchange(pool, -torch.ones(50, 1), source)
    old = total = 0
    for number in range(2000):
        before, fake = pool["held"].clone(), torch.tensor([[float(number)]])
        (shown,) = exchange(pool, fake, source)
        total += 1
        changed = (pool["held"] != before).flatten().nonzero().flatten()
        if torch.equal(shown, fake[0]):
            assert len(changed) == 0, "a fake that is shown is not kept"
        else:
            old += 1
            assert len(changed) == 1
            assert torch.equal(before[changed[0]], shown)
            assert torch.equal(pool["held"][changed[0]], fake[0])
    assert abs(old / total - 0.5) < 4 * 0.5 / math.sqrt(total)


def test_a_pool_keeps_no_graph_and_one_of_0_shows_all() -> None:
    fakes = torch.rand(4, 2, requires_grad=True)
    shown = exchange(empty_pool(0, (2,)), fakes, torch.Generator())
    assert torch.equal(shown, fakes.detach())
    pool = empty_pool(2, (2,))
    assert not exchange(pool, fakes, torch.Generator()).requires_grad
    assert not pool["held"].requires_grad


# --- sound --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("kernel", "stride", "pads"), [(25, 4, (10, 11)), (5, 2, (1, 2)), (31, 2, (14, 15)), (4, 1, (1, 2))]
)
def test_same_padding_puts_the_odd_zero_behind(kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert same_padding(64, kernel, stride) == pads


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


# --- ciphers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_as_many_bits_come_out(variant: str, bits: int) -> None:
    sent = CipherNetwork(2 * bits, bits, variant)(torch.randn(3, 2 * bits))  # pyright: ignore[reportArgumentType]
    assert sent.shape == (3, bits)
    assert sent.abs().max() < 1


def test_the_code_s_square_kernels_see_one_column() -> None:
    network, x = CipherNetwork(8, 4, "code"), torch.randn(2, 8)
    before = network(x)
    with torch.no_grad():
        network.levels[0].conv.weight[..., 1].add_(5.0)
    assert torch.equal(network(x), before)
    with torch.no_grad():
        network.levels[0].conv.weight[..., 0].add_(5.0)
    assert not torch.equal(network(x), before)


def test_the_paper_s_convolutions_by_hand() -> None:
    network, x = CipherNetwork(8, 4, "paper"), torch.randn(1, 8)
    y = torch.sigmoid(network.dense(x))[:, None]
    for level, pads in zip(network.levels, ((1, 2), (0, 0), (0, 0), (0, 0)), strict=True):
        layer = level.conv
        y = F.conv1d(F.pad(y, pads), layer.weight, layer.bias, stride=layer.stride)
        y = torch.tanh(y) if level is network.levels[-1] else torch.sigmoid(y)
    assert torch.allclose(network(x), y[:, 0], atol=1e-6)
