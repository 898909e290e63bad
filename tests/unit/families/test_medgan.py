"""medGAN's own parts: the encoded row, the autoencoder's loss, who moves what, and the statistics that are renewed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.families._shared import count_parameters
from pipeline.families.medgan import CANON, reconstruction
from pipeline.networks.architectures.medgan import BatchCritic, CodeGenerator
from pipeline.networks.layers.binary_codec import BinaryCodec
from pipeline.sampling.samples import SampleSource
from pipeline.types import Column, DataSpec

COLUMNS = (
    Column("flag", ("no", "yes")),
    Column("kind", ("a", "b", "c")),
    Column("visits", mean=4.0, std=2.0, whole=True),
)
SPEC = DataSpec("rows", (6,), (), "float32", columns=COLUMNS)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def family(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "medgan", "preset": "smoke", **keys})


def data(count: int = 8) -> torch.Tensor:
    n = torch.arange(count)
    return torch.cat([F.one_hot(n % 2, 2), F.one_hot(n % 3, 3), ((n - 4) / 2)[:, None]], 1).float()


def turn_of(made: AnyFamily, networks: Any, phase: str) -> Turn:
    noise = draw_latents(made.latents, 8, randomness.generator(0, phase))
    return Turn(networks, {"x": data()}, noise, State(seed=0), 0, phase)


def test_rows_are_bits_and_counts_and_come_back() -> None:
    codec, x = BinaryCodec(COLUMNS), data()
    encoded = codec.encoded(x)
    assert encoded.shape == (8, 5)
    assert encoded[:, 0].tolist() == [0, 1] * 4
    assert encoded[:, 4].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert codec.is_count(x).tolist() == [False, False, False, False, True]
    noisy = encoded + torch.tensor([0.2, 0.1, 0.1, 0.1, 0.4]) * (1 - 2 * encoded.clamp(max=1))
    assert torch.allclose(codec.rows(noisy)[:, :5], x[:, :5])
    assert torch.allclose(codec.rows(encoded), x)


def test_the_autoencoder_s_loss_is_summed_over_columns() -> None:
    x, found = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.8, 0.3], [0.4, 0.1]])
    wanted = F.binary_cross_entropy(found, x, reduction="none").sum(1).mean()
    assert torch.allclose(reconstruction(x, found, torch.tensor([False, False])), wanted)
    counts = torch.tensor([True, True])
    assert torch.allclose(reconstruction(x, found, counts), F.mse_loss(found, x))


def test_the_optimisers_own_the_published_numbers() -> None:
    with torch.device("meta"):
        networks = family(preset="mimic").build(CANON["mimic"].spec)
    assert count_parameters(networks["encoder"]) + count_parameters(networks["decoder"]) == 158_183
    assert count_parameters(networks["generator"]) + count_parameters(networks["decoder"]) == 129_255


def test_each_phase_moves_what_its_optimiser_owns() -> None:
    made = family(decay=0.0)
    networks = made.build(SPEC)
    moved: dict[str, set[str]] = {}
    for segment in made.segments():
        for phase in segment.phases:
            total = phase.objective(turn_of(made, networks, phase.name))["total"]
            moved[phase.name] = {
                name
                for name, network in networks.items()
                for each in torch.autograd.grad(total, list(network.parameters()), allow_unused=True, retain_graph=True)
                if each is not None and each.any()
            }
    players = {player.name: set(player.networks) for player in made.players()}
    assert moved["autoencoder"] == {"encoder", "decoder"}
    assert moved["discriminator"] == {"discriminator"}
    assert moved["generator"] & players["generator"] == {"generator", "decoder"}
    assert made.segments()[1].reset_optimisers
    assert made.segments()[1].phases[0].evaluating == {"generator"}


def test_the_decay_is_half_the_sum_of_squares_of_what_moves() -> None:
    made, plain = family(decay=0.5), family(decay=0.0)
    networks = made.build(SPEC)
    (phase, other) = (each.segments()[0].phases[0] for each in (made, plain))
    more = (
        phase.objective(turn_of(made, networks, "x"))["total"] - other.objective(turn_of(plain, networks, "x"))["total"]
    )
    squares = sum(
        float(each.detach().square().sum()) for name in ("encoder", "decoder") for each in networks[name].parameters()
    )
    assert float(more.detach()) == pytest.approx(0.25 * squares, rel=1e-5)


def test_the_losses_are_those_of_the_program() -> None:
    made = family(decay=0.0)
    networks = made.build(SPEC)
    turn = turn_of(made, networks, "d")
    discriminator, generator = made.segments()[1].phases
    with torch.no_grad():
        fake = networks["decoder"](networks["generator"](turn.latents["z"]))
        real = BinaryCodec(COLUMNS).encoded(data())
        on_real, on_fake = (torch.sigmoid(networks["discriminator"](each)) for each in (real, fake))
    wanted = -(on_real + 1e-12).log().mean() - (1 - on_fake + 1e-12).log().mean()
    assert torch.allclose(discriminator.objective(turn)["total"], wanted, atol=1e-6)
    assert torch.allclose(generator.objective(turn)["total"], -(on_fake + 1e-12).log().mean(), atol=1e-6)


def test_the_critic_sees_each_row_beside_the_mean() -> None:
    critic = BatchCritic(2, (4,))
    seen: list[torch.Tensor] = []
    critic.hidden[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    critic(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert seen[0].tolist() == [[1, 2, 2, 4], [3, 6, 2, 4]]


def test_the_last_block_ends_in_tanh_or_in_relu_for_counts() -> None:
    for counts, function in ((False, torch.tanh), (True, F.relu)):
        generator = CodeGenerator(3, 2, counts).eval()
        x = torch.randn(5, 3)
        dense, norm = generator[1].dense, generator[1].norm
        assert isinstance(dense, nn.Linear)
        assert isinstance(norm, nn.BatchNorm1d)
        assert (norm.eps, norm.momentum, dense.bias) == (1e-3, 0.01, None)
        first = generator[0](x)
        assert torch.allclose(generator(x), first + function(norm(dense(first))))


def test_statistics_are_renewed_before_samples_are_made_and_the_trained_ones_stay() -> None:
    made = family(refresh=600, refresh_batch=64)
    networks = made.build(SPEC)
    source, again = (SampleSource(made, networks, SPEC) for _ in range(2))
    before = networks["generator"].state_dict()["0.norm.running_var"]
    after = source.networks["generator"].state_dict()["0.norm.running_var"]
    assert torch.equal(before, torch.ones(8))
    assert torch.equal(after, again.networks["generator"].state_dict()["0.norm.running_var"])
    weight = networks["generator"].state_dict()["0.dense.weight"]
    assert torch.allclose(after, weight.square().sum(1), rtol=0.1)  # the variance of Wz for z ~ N(0, 1)
    assert source.sample(70).shape == (70, 6)


def test_numbers_that_are_no_counts_are_refused() -> None:
    for column in (Column("weight"), Column("visits", whole=True, masked=True)):
        with pytest.raises(SettingsError, match=rf"ingest\.source\.columns: {{{column.name}: ignore}}"):
            family().check(DataSpec("rows", (column.width,), (), "float32", columns=(column,)))
