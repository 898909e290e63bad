"""PixelDTGAN: the three objectives in closed form, whose network each moves, and which target is irrelevant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, State, Turn
from pipeline.errors import SettingsError
from pipeline.networks.architectures.pixeldtgan import Converter, DomainDiscriminator
from pipeline.types import DataSpec, like_x

SOURCE = torch.Generator().manual_seed(1)
X, PAIR = (torch.rand((4, channels, 16, 16), generator=SOURCE) * 2 - 1 for channels in (3, 1))
SPEC = DataSpec("image", (3, 16, 16), fields=like_x({"pair": (1, 16, 16)}))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def design() -> AnyFamily:
    return plugins.load("families", {"name": "pixeldtgan", "preset": "smoke"})


def play(design: AnyFamily, networks: dict[str, nn.Module], *, step: int = 0) -> dict[str, dict[str, Tensor]]:
    """All phases of a step on one lane; phase → parts."""
    memory: dict[str, Any] = {}
    batch: Any = {"x": X, "pair": PAIR}
    found: dict[str, dict[str, Tensor]] = {}
    for phase in design.phases():
        turn = Turn(networks, batch, {}, State(seed=0, step=step, examples_seen=4 * step), 0, phase.name, memory=memory)
        found[phase.name] = phase.objective(turn)
    return found | {"memory": memory}


def bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy(torch.sigmoid(logits), torch.full_like(logits, target))


def test_objectives_are_those_of_the_paper(design: AnyFamily) -> None:
    networks = design.build(SPEC)
    found = play(design, networks)
    made, other = networks["generator"](PAIR), found["memory"]["irrelevant"]
    single, double = networks["discriminator"], networks["domain_discriminator"]

    def beside(x: Tensor) -> Tensor:
        return double(torch.cat([PAIR, x], 1))

    expected = {
        "discriminator": (bce(single(X), 1) + bce(single(other), 1) + bce(single(made), 0)) / 3,
        "domain_discriminator": (bce(beside(X), 1) + bce(beside(other), 0) + bce(beside(made), 0)) / 3,
        "generator": (bce(single(made), 1) + bce(beside(made), 1)) / 2,
    }
    for phase, total in expected.items():
        assert torch.allclose(found[phase]["total"], total, atol=1e-5), phase


def test_a_discriminator_moves_no_generator_and_is_moved_by_none(design: AnyFamily) -> None:
    networks = design.build(SPEC)
    found = play(design, networks)
    for phase in ("discriminator", "domain_discriminator"):
        weights = list(networks["generator"].parameters())
        assert all(each is None for each in torch.autograd.grad(found[phase]["total"], weights, allow_unused=True))
    assert {player.name: player.networks for player in design.players()} == {
        name: (name,) for name in ("discriminator", "domain_discriminator", "generator")
    }


def test_an_irrelevant_target_is_another_example_s(design: AnyFamily) -> None:
    networks = design.build(SPEC)
    moved = set[int]()
    for step in range(12):
        other = play(design, networks, step=step)["memory"]["irrelevant"]
        (places,) = (n for n in range(4) if torch.equal(other, X.roll(n, 0)))
        moved.add(places)
    assert moved == {1, 2, 3}
    assert design.least_lane == 2


def test_layers_are_the_references() -> None:
    with torch.device("meta"):
        converter, network = Converter(3, 3, 96, 4), DomainDiscriminator(6, 96, 4)
        assert network(torch.empty(2, 6, 64, 64)).shape == (2, 1, 1)
        assert converter(torch.empty(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    kinds = [type(each).__name__ for each in converter.layers]
    down = ["Conv2d", "LeakyReLU", *["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3]
    up = [*["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 3, "ConvTranspose2d", "Tanh"]
    assert kinds == [*down, *up]
    assert [type(each).__name__ for each in network.layers] == [*down, "Conv2d"]
    assert all(each.bias is None for each in converter.layers if isinstance(each, nn.Conv2d | nn.ConvTranspose2d))


def test_sides_it_cannot_halve_are_refused(design: AnyFamily) -> None:
    with pytest.raises(SettingsError, match=r"families\.pixeldtgan\.halvings"):
        design.check(DataSpec("image", (3, 12, 12), fields=like_x({"pair": (1, 12, 12)})))
    with pytest.raises(SettingsError, match="multiples of 4"):
        design.check(DataSpec("image", (3, 18, 18), fields=like_x({"pair": (1, 18, 18)})))
