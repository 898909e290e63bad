"""Tiny games for tests of the loop: data in memory, small designs, one call that trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline import plugins, randomness
from pipeline.contract import (
    AnyFamily,
    Family,
    Latent,
    LatentSpec,
    LocalWorld,
    MemoryReporter,
    Networks,
    Optimiser,
    Phase,
    Player,
    Reporter,
    Scorer,
    Turn,
    World,
)
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.settings import Settings
from pipeline.storage.files import read_json
from pipeline.training import beside
from pipeline.training.loop import Outcome, RunParts, fit
from pipeline.training.settings import InTrainingScore, TrainSettings
from pipeline.types import Batch, DataSpec, FieldSpec

IMAGES = DataSpec("image", (1, 8, 8), ("a", "b", "c"))
ROWS = DataSpec("rows", (6,), (), "float32")


def random_field(field: FieldSpec, count: int, source: torch.Generator) -> Tensor:
    """A field as batches hold it (count, *shape): names from 0 to 9, letters of captions, numbers in its range."""
    shape = (count, *field.shape)
    if field.kind == "text" and field.dtype == "uint8":
        return torch.randint(ord("a"), ord("z") + 1, shape, generator=source)
    if field.dtype == "int64":
        return torch.randint(0, 10, shape, generator=source)
    drawn = torch.rand(shape, generator=source)
    return drawn if field.kind == "mask" else drawn * 2 - 1


class Data:
    """Random examples, with the fields that the spec names, in a repeating order; `asked` notes every position read."""

    def __init__(self, spec: DataSpec, count: int = 48) -> None:
        source = torch.Generator().manual_seed(7)
        self.x = torch.rand((count, *spec.shape), generator=source) * 2 - 1
        self.label = torch.arange(count) % max(1, len(spec.classes))
        self.labelled = bool(spec.classes)
        more = torch.Generator().manual_seed(11)
        self.fields = {each.name: random_field(each, count, more) for each in spec.fields}
        self.asked: list[int] = []

    def batch(self, position: int, start: int, stop: int, device: torch.device | str = "cpu") -> Batch:
        self.asked.append(position)
        index = (torch.arange(start, stop) + position) % len(self.x)
        batch: Batch = {"x": self.x[index].to(device)}
        if self.labelled:
            batch["label"] = self.label[index].to(device)
        fields: Any = {name: every[index].to(device) for name, every in self.fields.items()}
        return batch | fields


def dcgan(**keys: Any) -> AnyFamily:
    """BatchNorm in both networks, shared fakes, a lazy R1."""
    small = {"generator_width": 4, "discriminator_width": 4, "latent": 6, "discriminator_norm": "batch"}
    return plugins.load(
        "families", {"name": "dcgan", "preset": "digits", "penalties": {"r1": {"every": 2}}, **small, **keys}
    )


def r3gan(**keys: Any) -> AnyFamily:
    """A relativistic loss, R1 and R2 in every step: double backward."""
    small = {"widths": [8, 8, 8], "groups": [4, 2, 2], "conditional": True}
    return plugins.load("families", {"name": "r3gan", "preset": "small", **small, **keys})


def sngan(**keys: Any) -> AnyFamily:
    """Spectral norm, which moves once a phase; G first, without data; labels from counters."""
    small = {"generator_widths": [6, 4], "discriminator_widths": [4, 4], "latent": 4, "discriminator_steps": 2}
    turns = {"first": "generator", "generator_batches": 2, "halvings": 1}
    return plugins.load("families", {"name": "sngan", "preset": "smoke", **small, **turns, **keys})


def biggan(**keys: Any) -> AnyFamily:
    """Spectral norm in both networks, attention, batch norm from a shared code, consistency from counters."""
    small = {"width": 4, "latent": 6, "shared_embedding": 3, "generator_orthogonal": 1e-4}
    consistency = {"penalties": {"name": "consistency", "fake": 10}, "latent_consistency": {}}
    return plugins.load("families", {"name": "biggan", "preset": "smoke", **small, **consistency, **keys})


def wgan(**keys: Any) -> AnyFamily:
    """Weights clipped before every turn, turns that depend on the step, RMSProp."""
    small = {"generator_width": 4, "discriminator_width": 4, "latent": 4, "eager_steps": 3, "discriminator_steps": 1}
    return plugins.load("families", {"name": "wgan", "preset": "smoke", **small, **keys})


def toy(**keys: Any) -> AnyFamily:
    """Everything that the contract can say."""
    import toy_family

    return toy_family.Family(toy_family.Config(**keys))


GAMES: dict[str, tuple[Any, DataSpec]] = {
    "dcgan": (dcgan, IMAGES),
    "r3gan": (r3gan, IMAGES),
    "sngan": (sngan, IMAGES),
    "biggan": (biggan, IMAGES),
    "wgan": (wgan, IMAGES),
    "toy": (toy, ROWS),
}

LIGHT = ("dcgan", "toy")  # what the quick tests play; the others take seconds each
EACH_GAME = [name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow) for name in GAMES]


def settings(**keys: Any) -> TrainSettings:
    """16 examples a step in 4 lanes; a tick every 2 steps, a checkpoint with each."""
    usual = {
        "batch_size": 16,
        "lanes": 4,
        "tick": 32,
        "checkpoint": 32,
        "grid": 32,
        "examples": 128,
        "keep": 99,
        "score": InTrainingScore(every=32),
    }
    return TrainSettings.model_validate({**usual, **keys})


def train(
    family: AnyFamily,
    spec: DataSpec,
    folder: Path,
    *,
    world: World | None = None,
    reporter: Reporter | None = None,
    scorer: Scorer | None = None,
    stop_on_collapse: bool = False,
    snapshots: beside.Snapshots | None = None,
    leaving: Callable[[], bool] | None = None,
    **keys: Any,
) -> Outcome:
    """Train a game with its checkpoints in `folder`; `keys` are settings."""
    torch.set_num_threads(1)
    chosen = settings(**keys)
    run = RunParts(
        settings=chosen,
        family=family,
        spec=spec,
        batches=Data(spec),
        world=world or LocalWorld(),
        reporter=reporter or MemoryReporter(),
        store=CheckpointStore(folder, chosen.keep),
        scorer=scorer,
        stop_on_collapse=stop_on_collapse,
        beside=snapshots,
        leaving=leaving,
    )
    return fit(run)


def content(folder: Path, number: int | None = None) -> dict[str, str]:
    """sha256 of every file of the newest checkpoint (or of `number`): weights, averages, optimisers, state."""
    store = CheckpointStore(folder)
    path = store.numbered()[-1] if number is None else store.path(number)
    return read_json(path / "manifest.json", "a test")["files"]


class Interrupted(Exception):
    """A kill, as far as one process can play it."""


class Killer(MemoryReporter):
    """Kills the run at its n-th tick, before that tick's checkpoint."""

    def __init__(self, tick: int) -> None:
        super().__init__()
        self.tick_of_death = tick

    def tick(self, record: Any) -> None:
        super().tick(record)
        if len(self.ticks) == self.tick_of_death:
            raise Interrupted


class Scores:
    """A scorer that reads its answers from a list, one a reading."""

    def __init__(self, *frechet: float, **others: float) -> None:
        self._frechet = list(frechet)
        self._others = others

    def __call__(self, networks: Networks, world: World) -> Mapping[str, float]:
        return {"frechet": self._frechet.pop(0), **self._others}


class NoConfig(Settings):
    """Nothing to set."""


class Scalars(Family[NoConfig]):
    """Players own one number each; phases and optimisers are the test's."""

    paper = "none"

    def __init__(self, players: Mapping[str, Optimiser], phases: tuple[Phase, ...], start: float = 0.0) -> None:
        super().__init__(NoConfig())
        self._players = players
        self._phases = phases
        self._start = start

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (1,)),)

    @property
    def averaged(self) -> tuple[str, ...]:
        return tuple(self._players)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        networks: dict[str, nn.Module] = {name: nn.Linear(1, 1, bias=False) for name in self._players}
        for network in networks.values():
            nn.init.constant_(number(network), self._start)
        return networks

    def players(self) -> tuple[Player, ...]:
        return tuple(Player(name, (name,), optimiser) for name, optimiser in self._players.items())

    def phases(self) -> tuple[Phase, ...]:
        return self._phases

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return latents["z"]


def number(network: nn.Module) -> nn.Parameter:
    """The one number of a network of `Scalars`."""
    return next(network.parameters())


def sgd(lr: float = 1.0) -> Optimiser:
    return Optimiser(name="sgd", lr=lr)


def slope(name: str) -> Any:
    """An objective whose gradient is 1."""

    def objective(turn: Turn) -> dict[str, Tensor]:
        return {"total": number(turn.networks[name]).sum()}

    return objective


def sick(spec_player: str, examples_seen: int, healthy_from: int) -> Any:
    """`slope`, but NaN from `examples_seen` on until attempt `healthy_from`."""

    def objective(turn: Turn) -> dict[str, Tensor]:
        ill = turn.state.examples_seen > examples_seen and turn.state.attempt < healthy_from
        total = number(turn.networks[spec_player]).sum()
        return {"total": total * float("nan") if ill else total}

    return objective


def initial(family: AnyFamily, spec: DataSpec, seed: int = 0) -> dict[str, nn.Module]:
    """The networks as a run of this seed begins with them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(randomness.key(seed, "init", 0))
        return family.build(spec)
