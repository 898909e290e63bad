"""What the plan beyond these machines counts on the meta device is what runs."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import cast

import pytest
import scale_counts as counts
import torch
from scale_plan import MODELS
from torch import Tensor
from worlds import ThreadWorld, on_threads

from pipeline import plugins
from pipeline.contract import AnyFamily, LocalWorld, MemoryReporter, World
from pipeline.formats import checkpoint as disk
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.training.loop import Run, fit
from pipeline.training.settings import InTrainingScore, TrainSettings
from pipeline.training.step import Stepper
from pipeline.types import Batch, DataSpec

pytestmark = pytest.mark.slow


SPEC, LANE = DataSpec("image", (3, 16, 16), tuple("0123456789")), 4


def small(family: str) -> AnyFamily:
    return cast(AnyFamily, plugins.load("families", {"name": family, "preset": "smoke"}))


@functools.cache
def counted(family: str, lane: int) -> counts.Counted:
    return counts.count(small(family), SPEC, lane)


@pytest.mark.parametrize(
    ("family", "preset", "expected"),
    [
        ("biggan", "imagenet128", {"generator": 70_433_988, "discriminator": 87_982_370}),
        ("stylegan2", "config_f256", {"generator": 30_034_338, "discriminator": 28_864_129}),
    ],
)
def test_parameters_are_the_published_ones(family: str, preset: str, expected: dict[str, int]) -> None:
    loaded, spec = counts.load_preset(family, preset)
    networks = counts.build(loaded, spec, counts.META)
    assert {name: len(list(network.parameters())) > 0 for name, network in networks.items()} == dict.fromkeys(
        expected, True
    )
    assert {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()} == expected
    (model,) = (each for each in MODELS if each.family == family)
    assert model.preset == preset


@pytest.mark.parametrize("family", ["biggan", "stylegan2"])
def test_operations_grow_with_the_lane(family: str) -> None:
    """All arithmetic is by example, but for what is done to the weights themselves."""
    two, four = (counted(family, lane) for lane in (2, 4))
    for fewer, more in zip(two.phases, four.phases, strict=True):
        assert fewer.flops < more.flops <= 2 * fewer.flops
        assert more.message == fewer.message
        assert fewer.bytes < more.bytes < 2 * fewer.bytes


def test_one_convolution_is_counted_as_by_hand() -> None:
    """2·3·3·in·out·h·w forward, the same for each of both gradients; float32 in, weights and out once each way."""
    convolution = torch.nn.Conv2d(5, 7, 3, padding=1, bias=False, device="meta")
    with counts.Recorder() as recorder:
        x = torch.empty((2, 5, 8, 8), device="meta", requires_grad=True)
        convolution(x).sum().backward()
    (forward, backward) = sorted((k for k in recorder.kernels if k.convolution), key=lambda kernel: kernel.flops)
    assert forward.flops == 2 * 3 * 3 * 5 * 7 * 8 * 8 * 2
    assert backward.flops == 2 * forward.flops
    assert forward.bytes == 4 * (2 * 5 * 64 + 3 * 3 * 5 * 7 + 2 * 7 * 64)


@pytest.mark.parametrize("family", ["biggan", "stylegan2"])
def test_messages_are_those_that_ranks_exchange(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks play every phase once, and what they hand each other is weighed."""
    sent: list[int] = []
    exchange = ThreadWorld.exchange

    def weighed(world: ThreadWorld, tensor: Tensor, partner: int) -> Tensor:
        sent.append(tensor.numel())
        return exchange(world, tensor, partner)

    monkeypatch.setattr(ThreadWorld, "exchange", weighed)
    loaded = small(family)
    networks = counts.build(loaded, SPEC, torch.device("cpu"))

    def rank(world: World) -> None:
        mine = copy.deepcopy(networks)
        stepper = Stepper(loaded, mine, world, lanes=2, batch_size=2 * LANE, fast=False)
        stepper.begin()
        for phase in loaded.phases():
            turn = counts.turn_of(loaded, mine, SPEC, phase, LANE)
            stepper.turn(phase, 0, [turn.batch], turn.state)

    on_threads(2, rank)
    # Each of the two hands over one half, and then the sum of the other.
    halves = [(phase.message + 1) // 2 for phase in counted(family, LANE).phases]
    assert sorted(sent) == sorted(4 * halves)


class Zeros:
    """Data in memory."""

    def batch(self, position: int, start: int, stop: int, device: torch.device | str = "cpu") -> Batch:
        return {"x": torch.zeros(stop - start, *SPEC.shape), "label": torch.zeros(stop - start, dtype=torch.int64)}


@pytest.mark.parametrize("family", ["biggan", "stylegan2"])
def test_a_checkpoint_is_as_large_as_was_counted(family: str, tmp_path: Path) -> None:
    """That of a run's last tick."""
    every = dict.fromkeys(("tick", "checkpoint", "grid", "examples"), 64)
    settings = TrainSettings(batch_size=LANE, lanes=1, score=InTrainingScore(every=64), **every)  # pyright: ignore
    store = CheckpointStore(tmp_path)
    fit(Run(settings, small(family), SPEC, Zeros(), LocalWorld(), MemoryReporter(), store))
    groups = disk.load(store.numbered()[-1]).tensors
    found = sum(t.numel() * t.element_size() for tensors in groups.values() for t in tensors.values())
    assert found == counted(family, LANE).checkpoint
