"""Grown and style-based designs on one worker and on two: the same bytes, across segments and after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from games import IMAGES, content, initial, train
from worlds import on_processes

from pipeline import plugins
from pipeline.contract import AnyFamily, LocalWorld, World
from pipeline.types import DataSpec

ADA = {"name": "ada", "interval": 1, "examples": 100, "cutout": 1.0}


def progan() -> AnyFamily:
    """128 examples pass through four of its five segments: heads come into use and go out of it."""
    keys = {"latent": 6, "levels": 2, "width": 16, "max_width": 6, "stable": 32, "fade": 32, "conditional": True}
    return plugins.load("families", {"name": "progan", **keys})


def stylegan() -> AnyFamily:
    """Style mixing, noise, the mean of w, a fade."""
    keys = {"latent": 6, "style": 5, "mapping_layers": 2, "levels": 2, "width": 16, "max_width": 6}
    return plugins.load("families", {"name": "stylegan", **keys, "stable": 16, "fade": 32})


def stylegan2() -> AnyFamily:
    """Both lazy phases, the mean path length, ADA's p."""
    keys = {"latent": 6, "style": 5, "mapping_layers": 2, "width": 64, "max_width": 6, "smallest": 2}
    lazy = {"penalties": {"r1": {"gamma": 1.0, "every": 2}}, "path_every": 2}
    return plugins.load("families", {"name": "stylegan2", **keys, **lazy, "augment": ADA, "conditional": True})


GAMES = {"progan": progan, "stylegan": stylegan, "stylegan2": stylegan2}
EXAMPLES = {"progan": 128, "stylegan": 64, "stylegan2": 64}
SPEC: DataSpec = IMAGES


def play_all(world: World, folder: Path) -> dict[str, Any]:
    """Every game on these ranks: its last checkpoint's hashes."""
    found: dict[str, Any] = {}
    for name, make in GAMES.items():
        train(make(), SPEC, folder / name, world=world, examples=EXAMPLES[name])
        found[name] = content(folder / name)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("alone")
    return play_all(LocalWorld(), folder), folder


@pytest.mark.slow
def test_two_workers_change_no_byte(alone: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    """Networks, averages, the mean of w, p, the mean path length, the level of detail, optimisers."""
    for rank in on_processes(2, play_all, tmp_path):
        assert rank == alone[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(GAMES))
def test_a_run_that_stops_and_goes_on_ends_in_the_same_bytes(
    name: str, alone: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    for examples in (EXAMPLES[name] // 2, EXAMPLES[name]):
        train(GAMES[name](), SPEC, tmp_path, examples=examples)
    assert content(tmp_path) == alone[0][name]


def test_layers_that_are_not_in_use_do_not_move(tmp_path: Path) -> None:
    """After the first segment the upper levels are as they were built, in networks and averages alike."""
    family = progan()
    outcome = train(family, SPEC, tmp_path, examples=32)
    built = initial(family, SPEC)["generator"].state_dict()
    for key, value in outcome.networks["generator"].state_dict().items():
        if key.startswith("levels."):
            moved = not torch.equal(value, built[key])
            assert moved == key.startswith("levels.0."), key


def test_samples_of_a_run_stand_where_its_growth_stood(tmp_path: Path) -> None:
    outcome = train(progan(), SPEC, tmp_path, examples=32)
    z = {"z": torch.randn((2, 6), generator=torch.Generator().manual_seed(0))}
    with torch.no_grad():
        image = progan().sample(outcome.networks, z, {"label": torch.tensor([0, 1])})
    cells = torch.nn.functional.avg_pool2d(image, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert image.shape == (2, 1, 8, 8)
    torch.testing.assert_close(image, cells)
