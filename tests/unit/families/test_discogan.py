"""DiscoGAN: the authors' layers, both objectives in closed form, whose turn it is, and the step of r."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, State, Turn
from pipeline.errors import SettingsError
from pipeline.families.discogan import matching
from pipeline.networks.architectures.discogan import DiscoDiscriminator, DiscoPlan, DiscoTranslator
from pipeline.types import DataSpec, like_x

SOURCE = torch.Generator().manual_seed(1)
X, OTHER = (torch.rand((4, 3, 16, 16), generator=SOURCE) * 2 - 1 for _ in range(2))
SPEC = DataSpec("image", (3, 16, 16), fields=like_x({"unpaired": (3, 16, 16)}))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def family(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "discogan", "preset": "smoke", **keys})


def play(design: AnyFamily, networks: dict[str, nn.Module], phase: str, seen: int = 0) -> dict[str, Tensor]:
    (chosen,) = (each for each in design.phases() if each.name == phase)
    batch: Any = {"x": X, "unpaired": OTHER}
    return chosen.objective(Turn(networks, batch, {}, State(seed=0, examples_seen=seen), 0, phase))


def layers(network: nn.Module) -> list[str]:
    """A network as a list of its layers, containers left out."""
    found = []
    for each in network.modules():
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d):
            assert each.bias is None
            kind = "T" if isinstance(each, nn.ConvTranspose2d) else "C"
            found.append(f"{kind}{each.out_channels} {each.kernel_size[0]}/{each.stride[0]}/{each.padding[0]}")
        elif isinstance(each, nn.BatchNorm2d):
            found.append("BN")
        elif isinstance(each, nn.LeakyReLU):
            assert each.negative_slope == 0.2
            found.append("lrelu")
        elif isinstance(each, nn.ReLU | nn.Sigmoid):
            found.append(type(each).__name__.lower())
    return found


DOWN = ["C64 4/2/1", "lrelu", "C128 4/2/1", "BN", "lrelu", "C256 4/2/1", "BN", "lrelu", "C512 4/2/1", "BN", "lrelu"]
UP = ["T256 4/2/1", "BN", "relu", "T128 4/2/1", "BN", "relu", "T64 4/2/1", "BN", "relu", "T3 4/2/1", "sigmoid"]
EXTRA = ["C100 4/1/0", "BN", "lrelu", "T512 4/1/0", "BN", "relu"]


@pytest.mark.parametrize("extra", [False, True])
def test_translators_have_the_authors_layers(extra: bool) -> None:
    with torch.device("meta"):
        network = DiscoTranslator(DiscoPlan(3, 3, extra=extra))
    assert layers(network) == [*DOWN, *(EXTRA if extra else []), *UP]


def test_discriminators_have_the_authors_layers_and_show_three_maps() -> None:
    network = DiscoDiscriminator(3)
    assert layers(network) == [*DOWN, "C1 4/1/0"]
    logits, maps = network(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 1, 1, 1)
    assert [tuple(each.shape[1:]) for each in maps] == [(128, 16, 16), (256, 8, 8), (512, 4, 4)]
    with torch.no_grad():
        first = F.leaky_relu(network.levels[0][0](torch.rand(2, 3, 64, 64)), 0.2)  # pyright: ignore
        assert first.shape == (2, 64, 32, 32)


def test_matching_compares_means_over_the_batch() -> None:
    real, fake = (torch.randn(5, 2, 3, 3, generator=SOURCE) for _ in range(2))
    one = F.mse_loss(real.mean(0), fake.mean(0))
    torch.testing.assert_close(matching([real, 2 * real], [fake, 2 * fake]), 5 * one)
    assert matching([real], [real.flip(0)]) < 1e-12, "each batch alone has no order"


@pytest.mark.parametrize(("seen", "rate"), [(64, 0.01), (65, 0.5)])
def test_the_generators_total_is_the_authors(seen: int, rate: float) -> None:
    design = family()
    networks = design.build(SPEC)
    parts = play(design, networks, "generators", seen)
    b, a = (X + 1) / 2, (OTHER + 1) / 2
    forth, back = networks["generator_forth"], networks["generator_back"]
    ab, ba = forth(a), back(b)
    total = torch.zeros(())
    for judge, real, fake, again, first in (
        (networks["discriminator_forth"], b, ab, back(ab), a),
        (networks["discriminator_back"], a, ba, forth(ba), b),
    ):
        _, real_maps = judge(real)
        logits, fake_maps = judge(fake)
        game = F.binary_cross_entropy(torch.sigmoid(logits), torch.ones_like(logits))
        means = [((r.mean(0) - f.mean(0)) ** 2).mean() for r, f in zip(real_maps, fake_maps, strict=True)]
        total = total + (0.1 * game + 0.9 * sum(means)) * (1 - rate) + rate * F.mse_loss(again, first)
    torch.testing.assert_close(parts["total"], total, atol=1e-5, rtol=1e-5)


def test_the_discriminators_total_is_half_of_each_side_in_both_directions() -> None:
    design = family()
    networks = design.build(SPEC)
    parts = play(design, networks, "discriminators")
    b, a = (X + 1) / 2, (OTHER + 1) / 2
    total = torch.zeros(())
    for judge, real, fake in (
        (networks["discriminator_forth"], b, networks["generator_forth"](a)),
        (networks["discriminator_back"], a, networks["generator_back"](b)),
    ):
        for x, aim in ((real, torch.ones), (fake, torch.zeros)):
            chance = torch.sigmoid(judge(x)[0])
            total = total + 0.5 * F.binary_cross_entropy(chance, aim(chance.shape))
    torch.testing.assert_close(parts["total"], total, atol=1e-5, rtol=1e-5)


def test_in_each_step_one_player_moves_on_a_fresh_batch() -> None:
    discriminators, generators = family().phases()
    moves = []
    for step in range(6):
        state = State(seed=0, step=step)
        now = [each.player for each in (discriminators, generators) if not step % each.every]
        moves.append([each for each in now if each != "generators" or (generators.when and generators.when(state))])
    assert moves == [["discriminators"], ["generators"], ["generators"]] * 2
    assert {discriminators.batch, generators.batch} == {"fresh"}


def test_samples_are_in_minus_1_to_1_and_go_back() -> None:
    design = family()
    networks = design.build(SPEC)
    for network in networks.values():
        network.eval()
    condition: Any = {"unpaired": OTHER}
    made = design.sample(networks, {}, condition)
    torch.testing.assert_close(made, 2 * networks["generator_forth"]((OTHER + 1) / 2) - 1)
    again = design.procedures()["back"](networks, made)
    torch.testing.assert_close(again, 2 * networks["generator_back"]((made + 1) / 2) - 1)


def test_images_smaller_than_the_last_convolution_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"halvings: 3 need sides of 32 or more, and the data is 16×16"):
        family(halvings=3).check(SPEC)
