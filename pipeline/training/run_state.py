"""All that a run carries from step to step: what a checkpoint holds, and what a restored run goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline.contract import Record, State, World
from pipeline.formats.checkpoint import Checkpoint
from pipeline.training.averaging import Average
from pipeline.training.step import Stepper


@dataclass
class RunState:
    """Networks, their average, optimisers and lanes (of the stepper), the clock, and what was measured so far.

    best: the lowest score of a checkpoint's own average. began: the clock at the beginning of the last step.
    """

    networks: dict[str, nn.Module]
    average: Average
    stepper: Stepper
    state: State
    history: list[Record] = field(default_factory=lambda: [])
    scores: Mapping[str, float] = field(default_factory=lambda: {})
    best: float | None = None
    began: int = 0

    def begin(self, fresh: Mapping[str, nn.Module], state: State, lane_state: list[dict[str, Tensor]]) -> None:
        """Start over in place: the weights of `fresh`, empty optimisers, nothing measured."""
        for networks in (self.networks, self.average.networks):
            for name, network in networks.items():
                network.load_state_dict(fresh[name].state_dict())
        for optimiser in self.stepper.optimisers.values():
            optimiser.reset()
        self.stepper.lane_state = lane_state
        self.state, self.history, self.scores, self.best = state, [], {}, None

    def lanes(self, world: World) -> dict[str, Tensor]:
        """Every lane's own tensors, of all ranks, stacked in lane order: (lanes, …). Every rank calls it."""
        own = self.stepper.lane_state
        if not own or not own[0]:
            return {}
        stacked = {name: torch.stack([lane[name] for lane in own]) for name in own[0]}
        return {name: torch.cat(world.gather(values)) for name, values in stacked.items()}

    def to_checkpoint(self, lanes: Mapping[str, Tensor], best: float | None) -> Checkpoint:
        """All of it; `lanes` are those of all ranks."""
        state = self.state
        tensors = {
            "networks": _flat({name: network.state_dict() for name, network in self.networks.items()}),
            "averaged": _flat({name: network.state_dict() for name, network in self.average.networks.items()}),
            "optimisers": _flat({name: optimiser.state() for name, optimiser in self.stepper.optimisers.items()}),
            "state": _flat({"state": state.tensors, "lanes": lanes}),
        }
        plain = {
            "seed": state.seed,
            "step": state.step,
            "examples_seen": state.examples_seen,
            "began": self.began,
            "attempt": state.attempt,
            "segment": state.segment,
            "scores": dict(self.scores),
            "best": best,
        }
        return Checkpoint(tensors, plain, [dict(record) for record in self.history])

    def load(self, content: Checkpoint, device: torch.device) -> None:
        """Be what a checkpoint was taken from; of the lanes, this rank's."""
        _into(self.networks, content.tensors["networks"])
        _into(self.average.networks, content.tensors["averaged"])
        for name, optimiser in self.stepper.optimisers.items():
            optimiser.load(_under(content.tensors["optimisers"], name))
        self.state = _state(content, device)
        lanes = _under(content.tensors["state"], "lanes")
        self.stepper.lane_state = [
            {name: values[lane].to(device, copy=True) for name, values in lanes.items()} for lane in self.stepper.mine
        ]
        self.history = content.history
        self.scores, self.best = content.state["scores"], content.state["best"]

    def take_average(self, content: Checkpoint, device: torch.device) -> State:
        """Take a checkpoint's average alone; returns where the run stood then."""
        _into(self.average.networks, content.tensors["averaged"])
        return _state(content, device)


def checksum(networks: Mapping[str, nn.Module]) -> Tensor:
    """A 63-bit hash of every weight and buffer, as a tensor that ranks can exchange."""
    digest = hashlib.blake2b(digest_size=8)
    for _, network in sorted(networks.items()):
        for tensor in network.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return torch.tensor(int.from_bytes(digest.digest(), "big") >> 1)


def _state(content: Checkpoint, device: torch.device) -> State:
    saved = content.state
    tensors = _under(content.tensors["state"], "state")
    return State(
        seed=saved["seed"],
        step=saved["step"],
        examples_seen=saved["examples_seen"],
        attempt=saved["attempt"],
        segment=saved["segment"],
        tensors={name: value.to(device) for name, value in tensors.items()},
    )


def _flat(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


def _under(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    prefix = f"{group}/"
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _into(networks: Mapping[str, torch.nn.Module], tensors: Mapping[str, Tensor]) -> None:
    for name, network in networks.items():
        network.load_state_dict(_under(tensors, name))
