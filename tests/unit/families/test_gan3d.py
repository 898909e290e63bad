"""3D-GAN: a discriminator that rests by its accuracy, noise and occupancy in (0, 1), on any cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import games
import pytest
import torch
from designs import smoke
from torch import Tensor, nn

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.families._shared import count_parameters
from pipeline.formats import checkpoint
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.types import DataSpec

SPEC = DataSpec("voxels", (1, 16, 16, 16), ("a", "b"), "uint8")
COUNT = 4


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def play(family: AnyFamily, networks: dict[str, nn.Module], phase: str, accuracy: float) -> dict[str, Tensor]:
    state = State(0, tensors={**family.state(SPEC), "accuracy": torch.tensor(accuracy)})
    x = torch.rand((COUNT, *SPEC.shape), generator=torch.Generator().manual_seed(1)).round() * 2 - 1
    noise = draw_latents(family.latents, COUNT, randomness.generator(0, "z"))
    (found,) = (each for each in family.phases() if each.name == phase)
    return found.objective(Turn(networks, {"x": x}, noise, state, 0, phase))


def moves(family: AnyFamily, accuracy: float) -> dict[str, bool]:
    state = State(0, tensors={"accuracy": torch.tensor(accuracy)})
    return {phase.name: phase.when is None or phase.when(state) for phase in family.phases()}


def test_the_discriminator_rests_above_its_accuracy_with_its_penalties() -> None:
    family = smoke("gan3d", penalties={"r1": {"every": 2}})
    assert moves(family, 0.8) == {"discriminator": True, "penalty": True, "generator": True}
    assert moves(family, 0.81) == {"discriminator": False, "penalty": False, "generator": True}
    assert all(moves(smoke("gan3d", rest_above=None), 1.0).values())


def test_the_last_batch_decides_whoever_saw_it() -> None:
    family = smoke("gan3d")
    state = State(0, tensors=family.state(SPEC))
    assert float(state.tensors["accuracy"]) == 0
    for observed, expected in (
        ({"discriminator/accuracy": 0.9, "generator/loss": 1.0}, 0.9),
        ({"generator/accuracy": 0.7}, 0.7),
        ({"generator/loss": 1.0}, 0.7),
    ):
        family.after_step({}, state, observed)
        assert float(state.tensors["accuracy"]) == pytest.approx(expected)


def test_where_it_rests_the_generator_measures_what_it_would_have_told() -> None:
    family = smoke("gan3d")
    networks = family.build(SPEC)
    assert "accuracy" not in play(family, networks, "generator", 0.5)
    resting = play(family, networks, "generator", 0.9)
    watching = play(family, networks, "discriminator", 0.9)
    assert resting["accuracy"] == watching["accuracy"], "the same batch, noise and weights"
    assert resting["total"] == resting["loss"], "it has no weight"


def test_noise_and_occupancy_are_between_0_and_1() -> None:
    """G's and D's stacks see (z + 1) / 2 and (x + 1) / 2, and G gives 2σ(a) − 1."""
    networks = smoke("gan3d").build(SPEC)
    seen: dict[str, Tensor] = {}
    for name, network in networks.items():
        stack: Any = network.stack
        stack.stages[0].register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
    z = torch.tensor([[-1.0, 1.0, 0, 0, 0, 0, 0, 0], [0.0] * 8])
    made = networks["generator"](z)
    generator: Any = networks["generator"]
    torch.testing.assert_close(made, 2 * torch.sigmoid(generator.stack.maps((z + 1) / 2)) - 1)
    assert seen["generator"].flatten(1)[0, :3].tolist() == [0, 1, 0.5]
    networks["discriminator"](made)
    torch.testing.assert_close(seen["discriminator"], (made + 1) / 2)


@pytest.mark.parametrize(("side", "levels"), [(16, 2), (32, 3), (64, 4)])
def test_each_halving_of_the_grid_takes_one_level(side: int, levels: int) -> None:
    spec = DataSpec("voxels", (1, side, side, side), (), "uint8")
    with torch.device("meta"):
        networks = plugins.load("families", {"name": "gan3d"}).build(spec)
    discriminator: Any = networks["discriminator"]
    assert len(discriminator.stack.levels) == levels
    assert discriminator.stack.head.kernel_size == (4, 4, 4)
    assert count_parameters(networks["generator"]) < 17_569_665


def test_a_run_that_rests_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """D rests in some steps and moves in others, and two halves give the bytes of the whole."""
    keys = {"init_std": None, "discriminator": {"lr": 3e-3}}
    whole = games.train(smoke("gan3d", **keys), SPEC, tmp_path / "whole", examples=128, tick=16)
    moved = ["discriminator/loss" in record for record in whole.history]
    assert True in moved
    assert False in moved
    assert all(("generator/accuracy" in record) != move for record, move in zip(whole.history, moved, strict=True))
    for examples in (64, 128):
        games.train(smoke("gan3d", **keys), SPEC, tmp_path / "pieces", examples=examples, tick=16)
    assert games.content(tmp_path / "pieces") == games.content(tmp_path / "whole")
    kept = checkpoint.load(CheckpointStore(tmp_path / "whole").numbered()[-1])
    assert any("accuracy" in name for name in kept.tensors["state"])


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"augment": "flips"}, "augment"),
        ({"loss": "least_squares"}, "rest_above"),
        ({"penalties": ["gradient_penalty"], "discriminator_norm": "batch"}, "penalties"),
        ({"rest_above": 0.3}, "rest_above"),
    ],
)
def test_what_does_not_fit_is_refused_by_key(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        smoke("gan3d", **keys)


def test_a_grid_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"families\.gan3d"):
        smoke("gan3d").check(DataSpec("voxels", (1, 15, 15, 15), (), "uint8"))
