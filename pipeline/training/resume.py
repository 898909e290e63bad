"""Between the loop and its checkpoints: what is saved, how it is restored, whether ranks agree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.contract import Reporter, State, World
from pipeline.errors import TrainingFailed
from pipeline.formats import checkpoint as disk
from pipeline.formats.checkpoint import Checkpoint, CheckpointStore

if TYPE_CHECKING:
    from pipeline.training.loop import Game

BEST = "best"


class Snapshots:
    """Saves and restores a `Game`; rank 0 writes, every rank reads the same checkpoint."""

    def __init__(self, store: CheckpointStore, world: World, reporter: Reporter) -> None:
        self.store = store
        self.world = world
        self.reporter = reporter
        self.best: float | None = None

    def save(self, game: Game) -> None:
        """Write a checkpoint, and again as `best` where its own score has never been better."""
        lane_state = self._gather_lanes(game)
        if self.world.rank == 0:
            score = game.history[-1].get(game.run.family.objective)
            if isinstance(score, float) and (self.best is None or score < self.best):
                self.best = score
                self.store.save(_content(game, lane_state, score), BEST)
            self.store.save(_content(game, lane_state, self.best))
        self.world.barrier()

    def restore(self, game: Game) -> bool:
        """Load the newest whole checkpoint into the game; False where there is none.

        Checkpoints of a longer run of the same settings, beyond `examples`, are left alone; but
        where the best is to be published and lies beyond, all goes: the best on the way is lost.
        """
        settings, found = game.run.settings, None
        if self.world.rank == 0:
            if settings.publish == "best" and not self.store.usable(BEST, settings.examples):
                self.reporter.note("the best average is broken, or beyond train.examples; beginning again")
                self.store.clear()
            found = self.store.latest(self.reporter.note, settings.examples)
        number = torch.tensor([int(found.name) if found else -1], device=self.world.device)
        # Rank 0 decides which one: the others may still see one that it has found torn.
        number = int(self.world.gather(number)[0].item())
        if number < 0:
            return False
        self.store.ready(self.store.path(number))
        self._load(game, self.store.path(number))
        self.world.barrier()
        return True

    def best_average(self, game: Game) -> State | None:
        """Put the best-scored average into the game; where the run stood then, None without one."""
        path = self.store.folder / BEST
        self.store.ready(path)
        if not path.is_dir():
            return None
        content = disk.load(path)
        _into(game.average.networks, content.tensors["averaged"])
        return _state(content, self.world)

    def check_parity(self, game: Game) -> None:
        """Compare a checksum of all weights over the ranks.

        Raises:
            TrainingFailed: naming the ranks that differ: a silent divergence ends here.
        """
        if self.world.size == 1:
            return
        mine = _checksum(game.networks)
        sums = [int(value.item()) for value in self.world.gather(mine.to(self.world.device))]
        if len(set(sums)) > 1:
            raise TrainingFailed(
                f"ranks hold different weights at {game.state.examples_seen:,} examples "
                f"(checksums {sums}); the run would not be reproducible from here"
            )

    def _gather_lanes(self, game: Game) -> dict[str, Tensor]:
        """Every lane's own tensors, stacked in lane order: (lanes, …)."""
        lanes = game.stepper.lane_state
        if not lanes or not lanes[0]:
            return {}
        stacked = {name: torch.stack([lane[name] for lane in lanes]) for name in lanes[0]}
        return {name: torch.cat(self.world.gather(values)) for name, values in stacked.items()}

    def _load(self, game: Game, path: Path) -> None:
        content = disk.load(path)
        device = self.world.device
        _into(game.networks, content.tensors["networks"])
        _into(game.average.networks, content.tensors["averaged"])
        for name, optimiser in game.stepper.optimisers.items():
            optimiser.load(_under(content.tensors["optimisers"], name))
        game.state = _state(content, self.world)
        lanes = _under(content.tensors["state"], "lanes")
        game.stepper.lane_state = [
            {name: values[lane].to(device, copy=True) for name, values in lanes.items()} for lane in game.stepper.mine
        ]
        game.history = content.history
        game.scores = content.state["scores"]
        self.best = content.state["best"]


def _state(content: Checkpoint, world: World) -> State:
    saved = content.state
    tensors = _under(content.tensors["state"], "state")
    return State(
        seed=saved["seed"],
        step=saved["step"],
        examples_seen=saved["examples_seen"],
        attempt=saved["attempt"],
        segment=saved["segment"],
        tensors={name: value.to(world.device) for name, value in tensors.items()},
    )


def _content(game: Game, lane_state: Mapping[str, Tensor], best: float | None) -> Checkpoint:
    state = game.state
    tensors = {
        "networks": _flat({name: network.state_dict() for name, network in game.networks.items()}),
        "averaged": _flat({name: network.state_dict() for name, network in game.average.networks.items()}),
        "optimisers": _flat({name: optimiser.state() for name, optimiser in game.stepper.optimisers.items()}),
        "state": _flat({"state": state.tensors, "lanes": lane_state}),
    }
    plain = {
        "seed": state.seed,
        "step": state.step,
        "examples_seen": state.examples_seen,
        "began": game.began,
        "attempt": state.attempt,
        "segment": state.segment,
        "scores": dict(game.scores),
        "best": best,
    }
    return Checkpoint(tensors, plain, [dict(record) for record in game.history])


def _flat(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


def _under(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = f"{group}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _into(networks: Mapping[str, torch.nn.Module], tensors: Mapping[str, Tensor]) -> None:
    for name, network in networks.items():
        network.load_state_dict(_under(tensors, name))


def _checksum(networks: Mapping[str, torch.nn.Module]) -> Tensor:
    """A 63-bit hash of every weight and buffer, as a tensor that ranks can exchange."""
    digest = hashlib.blake2b(digest_size=8)
    for _, network in sorted(networks.items()):
        for tensor in network.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return torch.tensor(int.from_bytes(digest.digest(), "big") >> 1)
