"""The number of workers changes speed, never bytes: real processes, real gloo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from games import GAMES, LIGHT, content, dcgan, train
from worlds import on_processes

from pipeline.contract import LocalWorld, MemoryReporter, State, World
from pipeline.errors import TrainingFailed
from pipeline.training.worlds import TorchWorld


def play_all(world: World, folder: Path, names: Iterable[str] = tuple(GAMES)) -> dict[str, Any]:
    """Games on these ranks: the last checkpoint's hashes of each, and what it published."""
    found: dict[str, Any] = {}
    for name in names:
        make, spec = GAMES[name]
        reporter = MemoryReporter()
        outcome = train(make(), spec, folder / name, world=world, reporter=reporter)
        weights = {key: value.double().sum().item() for key, value in flat(outcome.networks).items()}
        found[name] = {"files": content(folder / name), "weights": weights, "ticks": len(reporter.ticks)}
    return found


def play_and_diverge(world: World, folder: Path) -> dict[str, Any]:
    """A fast run, and one where a rank's weights change behind the loop's back."""
    fast = train(dcgan(), GAMES["dcgan"][1], folder / "fast", world=world, reduction="fast")
    family = dcgan()

    def tamper(networks: Any, state: State, observed: Any) -> None:
        if world.rank == 1 and state.step == 2:
            with torch.no_grad():
                next(networks["discriminator"].parameters()).view(-1)[0].add_(1e-7)

    family.after_step = tamper
    try:
        train(family, GAMES["dcgan"][1], folder / "tampered", world=world)
        said = "nothing"
    except TrainingFailed as error:
        said = str(error)
    return {"fast": fast.status, "said": said}


def flat(networks: Any) -> dict[str, torch.Tensor]:
    return {f"{name}/{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return play_all(LocalWorld(), tmp_path_factory.mktemp("alone"))


def play_light_and_diverge(world: World, folder: Path) -> dict[str, Any]:
    return {**play_all(world, folder, LIGHT), **play_and_diverge(world, folder)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_processes(2, play_light_and_diverge, tmp_path_factory.mktemp("pair"))


def assert_equal(ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    for name, expected in alone.items():
        assert set(expected["files"]) > {"networks.safetensors", "averaged.safetensors", "optimisers.safetensors"}
        for rank in ranks:
            assert rank[name]["files"] == expected["files"], name
            assert rank[name]["weights"] == expected["weights"], name
    assert [rank["dcgan"]["ticks"] for rank in ranks] == [4] + [0] * (len(ranks) - 1), "rank 0 alone reports"


@pytest.mark.slow
def test_two_workers_change_no_byte(pair: list[dict[str, Any]], tmp_path: Path) -> None:
    """Networks, averages, optimisers, BatchNorm's buffers, pools, state and history."""
    assert_equal(pair, play_all(LocalWorld(), tmp_path, LIGHT))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_nor_do_more_workers_in_any_game(size: int, alone: dict[str, Any], tmp_path: Path) -> None:
    """Double backward, spectral norm's iteration, orthogonal weights, clipping."""
    assert_equal(on_processes(size, play_all, tmp_path), alone)


def play_shared(world: World, folder: Path) -> dict[str, Any]:
    """Four lanes on three ranks: two work, the third is left over."""
    working = TorchWorld.sharing(4, world.device)
    return {} if working is None else {"size": working.size, **play_all(working, folder, ("dcgan",))}


@pytest.mark.slow
def test_of_three_workers_two_work_and_change_no_byte(pair: list[dict[str, Any]], tmp_path: Path) -> None:
    first, second, third = on_processes(3, play_shared, tmp_path)
    assert third == {}
    for rank in (first, second):
        assert rank["size"] == 2
        assert rank["dcgan"]["files"] == pair[0]["dcgan"]["files"]


def test_a_rank_that_diverges_in_silence_is_noticed(pair: list[dict[str, Any]]) -> None:
    for rank in pair:
        assert "ranks hold different weights at 64 examples" in rank["said"]


def test_the_fast_reduction_runs(pair: list[dict[str, Any]]) -> None:
    assert [rank["fast"] for rank in pair] == ["finished", "finished"]
