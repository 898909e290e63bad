"""Beyond these machines, part 1: what a step asks for, counted on the meta device, where nothing is allocated.

The family's own phases are played once on shapes alone, forwards and backwards, and every operator
that would run is written down: its arithmetic, its memory traffic, and what the CPU draws for it.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pipeline import plugins
from pipeline.contract import AnyFamily, Phase, State, Turn, draw_latents
from pipeline.types import Batch, DataSpec

META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operator: its floating-point operations, the bytes it reads and writes, and whether it is a convolution."""

    flops: int
    bytes: int
    convolution: bool


@dataclass(frozen=True)
class PhaseCount:
    """One turn of a phase on one lane.

    every, repeats: how often it is played, as the family says. fresh: whether it reads the next examples.
    kernels: how many times each operator runs. drawn, copied: numbers that the CPU draws for the lane inside
    the objective, and bytes that go from there to the device. parameters: of the player. message: numbers,
    float32, that ranks add up after it: gradients, floating buffers and the parts of the objective.
    """

    name: str
    every: int
    repeats: int
    fresh: bool
    kernels: Mapping[Kernel, int]
    drawn: int
    copied: int
    parameters: int
    message: int

    @property
    def flops(self) -> int:
        return sum(kernel.flops * times for kernel, times in self.kernels.items())

    @property
    def bytes(self) -> int:
        return sum(kernel.bytes * times for kernel, times in self.kernels.items())

    @property
    def launches(self) -> int:
        return sum(self.kernels.values())


@dataclass(frozen=True)
class Counted:
    """A family at a width, with lanes of `lane` examples.

    parameters: by network. example: bytes of one, decoded. latents: numbers of noise an example. averaged:
    numbers of the moving average. weights: bytes of all networks, buffers included. checkpoint: bytes of
    the tensors in one checkpoint.
    """

    lane: int
    parameters: Mapping[str, int]
    phases: tuple[PhaseCount, ...]
    example: int
    latents: int
    averaged: int
    weights: int
    checkpoint: int

    def per_step(self, of: Callable[[PhaseCount], float]) -> float:
        """Something of a phase, averaged over steps: lazy phases count for one in `every`."""
        return sum(of(phase) * phase.repeats / phase.every for phase in self.phases)


@functools.cache
def count_preset(family: str, preset: str, lane: int) -> Counted:
    """A published preset on the data it was published for."""
    return count(*load_preset(family, preset), lane)


def load_preset(family: str, preset: str) -> tuple[AnyFamily, DataSpec]:
    """A published preset, without its augmentation, and its data."""
    module: Any = importlib.import_module(f"pipeline.families.{family}")
    keys = {"augment": None} if "augment" in module.Config.model_fields else {}
    loaded = plugins.load("families", {"name": family, "preset": preset, **keys})
    return cast(AnyFamily, loaded), module.CANON[preset].spec


def count(family: AnyFamily, spec: DataSpec, lane: int) -> Counted:
    """Everything above, for lanes of `lane` examples of this data."""
    networks = build(family, spec, META)
    averaged = [networks[name] for name in family.averaged]
    owned = {p for player in family.players() for p in parameters_of(networks, player.networks)}
    adam = sum(8 * p.numel() + 4 for p in owned)  # two moments of each number, and the parameter's own step
    return Counted(
        lane=lane,
        parameters={name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()},
        phases=tuple(_count_phase(family, networks, spec, phase, lane) for phase in family.phases()),
        example=spec.size * (1 if spec.dtype == "uint8" else 4),
        latents=sum(torch.Size(latent.shape).numel() for latent in family.latents_for(spec)),
        averaged=sum(p.numel() for network in averaged for p in network.parameters()),
        weights=stored(networks.values()),
        checkpoint=stored(networks.values()) + stored(averaged) + adam + _state_bytes(family, spec),
    )


def _state_bytes(family: AnyFamily, spec: DataSpec) -> int:
    return sum(value.numel() * value.element_size() for value in family.state(spec).values())


def _count_phase(
    family: AnyFamily, networks: Mapping[str, nn.Module], spec: DataSpec, phase: Phase, lane: int
) -> PhaseCount:
    turn = turn_of(family, networks, spec, phase, lane)
    with Recorder() as recorder:
        parts = play(family, turn, phase)
    owned = sum(p.numel() for p in parameters_of(networks, player_of(family, phase)))
    training = [network for name, network in networks.items() if name not in phase.evaluating]
    buffers = sum(b.numel() for network in training for b in network.buffers() if b.is_floating_point())
    assert isinstance(phase.repeats, int), "a number of turns that depends on the state cannot be counted beforehand"
    return PhaseCount(
        name=phase.name,
        every=phase.every,
        repeats=phase.repeats,
        fresh=phase.batch == "fresh",
        kernels=dict(recorder.kernels),
        drawn=recorder.drawn,
        copied=recorder.copied,
        parameters=owned,
        message=owned + buffers + len(parts),
    )


# --- one turn, on any device ------------------------------------------------------------------


def build(family: AnyFamily, spec: DataSpec, device: torch.device) -> dict[str, nn.Module]:
    """The family's networks on a device."""
    with device:
        return family.build(spec)


def turn_of(family: AnyFamily, networks: Mapping[str, nn.Module], spec: DataSpec, phase: Phase, lane: int) -> Turn:
    """A turn over one lane of zeros, where the networks are; batches come as the loop hands them over."""
    device = next(iter(networks.values())).parameters().__next__().device
    batch = cast(Batch, {})
    if phase.batch != "none":
        batch["x"] = torch.zeros((lane, *spec.shape), device=device)
        if spec.classes:
            batch["label"] = torch.zeros(lane, dtype=torch.int64, device=device)
    latents = draw_latents(family.latents_for(spec), lane, torch.Generator().manual_seed(0))
    state = State(seed=0, tensors={name: value.to(device) for name, value in family.state(spec).items()})
    return Turn(networks, batch, {k: v.to(device) for k, v in latents.items()}, state, lane=0, phase=phase.name)


def play(family: AnyFamily, turn: Turn, phase: Phase) -> dict[str, Tensor]:
    """The objective and its gradients, as the loop takes them; the parts of the objective."""
    parts = phase.objective(turn)
    owned = parameters_of(turn.networks, player_of(family, phase))
    torch.autograd.grad(parts["total"], owned, allow_unused=True)
    return parts


def player_of(family: AnyFamily, phase: Phase) -> tuple[str, ...]:
    """The networks of the player whose turn it is."""
    (found,) = (player.networks for player in family.players() if player.name == phase.player)
    return found


def parameters_of(networks: Mapping[str, nn.Module], names: Iterable[str]) -> list[nn.Parameter]:
    """All parameters of these networks."""
    return [parameter for name in names for parameter in networks[name].parameters()]


def stored(networks: Iterable[nn.Module]) -> int:
    """Bytes of weights and buffers."""
    return sum(t.numel() * t.element_size() for network in networks for t in network.state_dict().values())


class Recorder(TorchDispatchMode):
    """Writes down every operator that runs inside: kernels on the device, draws on the CPU, copies between."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[Kernel] = Counter()
        self.drawn = 0
        self.copied = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        packet = func.overloadpacket
        name = str(packet).removeprefix("aten.")
        if not any(t.device.type == "meta" for t in made):
            self.drawn += sum(t.numel() for t in made) if name.startswith(("rand", "normal")) else 0
        elif any(t.device.type == "cpu" and t.dim() for t in read):
            self.copied += sum(_bytes(t) for t in made)
        elif not func.is_view:
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out) if packet in flop_registry else 0
            self.kernels[Kernel(flops, sum(_bytes(t) for t in (*read, *made)), "convolution" in name)] += 1
        return out


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
