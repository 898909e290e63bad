"""Who plays and in which order: players, the noise they draw, and what an objective sees of one turn.

A *step* runs the phases of the current segment in order. Each turn of a phase cuts the global batch into
`lanes` micro-batches; a phase's objective sees one lane at a time, as a `Turn`, and is pure: networks and tensors in,
`{"total": …, named parts…}` out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline import randomness
from pipeline.contract.optimisers import Optimiser
from pipeline.types import Batch

Networks = Mapping[str, nn.Module]


@dataclass(frozen=True, slots=True)
class Player:
    """A group of networks with one optimiser; a network no player owns is frozen."""

    name: str
    networks: tuple[str, ...]
    optimiser: Optimiser


# --- latents --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Latent:
    """One named noise input: `shape` is one example's, without the batch.

    `uniform` is over (-1, 1); `categorical` is one-hot over shape[-1] values; `bits` is ±1.
    """

    name: str
    shape: tuple[int, ...]
    distribution: Literal["normal", "uniform", "categorical", "bits"] = "normal"

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Float32 noise of shape (count, *shape)."""
        shape = (count, *self.shape)
        if self.distribution == "normal":
            return torch.randn(shape, generator=generator)
        if self.distribution == "uniform":
            return torch.rand(shape, generator=generator).mul_(2).sub_(1)
        if self.distribution == "bits":
            return torch.randint(0, 2, shape, generator=generator).mul_(2).sub_(1).float()
        index = torch.randint(0, shape[-1], shape[:-1], generator=generator)
        return nn.functional.one_hot(index, shape[-1]).float()


LatentSpec = tuple[Latent, ...]


def draw_latents(spec: LatentSpec, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Every latent of the spec, in its order, from one stream."""
    return {latent.name: latent.draw(count, generator) for latent in spec}


# --- one turn -------------------------------------------------------------------------------


@dataclass
class State:
    """Where a run stands: with the settings, all that decides what happens next.

    `tensors` is the family's own state (ADA's p, a path-length mean), equal on every rank.
    `examples_seen` is the clock: real examples drawn from the data so far.
    """

    seed: int
    step: int = 0
    examples_seen: int = 0
    attempt: int = 0
    segment: int = 0
    tensors: dict[str, Tensor] = field(default_factory=lambda: {})


@dataclass
class Turn:
    """What an objective sees: one lane of one turn of one phase.

    batch, latents: this lane's share of the global batch, on the device.
    lane_state: this lane's own tensors (a pool of fakes), which an objective may write in place.
    memory: lives for one step of this lane; `once` keeps what several phases share.
    """

    networks: Networks
    batch: Batch
    latents: Mapping[str, Tensor]
    state: State
    lane: int
    phase: str
    repeat: int = 0
    lane_state: Mapping[str, Tensor] = field(default_factory=lambda: {})
    memory: dict[str, Any] = field(default_factory=lambda: {})

    def generator(self, purpose: str) -> torch.Generator:
        """This lane's own stream for `purpose` in this turn."""
        state = self.state
        counters = (state.examples_seen, state.attempt, self.repeat, self.lane)
        return randomness.generator(state.seed, f"{self.phase}/{purpose}", *counters)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gave the first time it was asked for in this step, graph included."""
        if name not in self.memory:
            self.memory[name] = make()
        return self.memory[name]


Objective = Callable[[Turn], dict[str, Tensor]]


@dataclass(frozen=True)
class Phase:
    """One turn of one player.

    batch: `fresh` reads the next examples, `same` sees those of the phase before, `none` sees
        no data.
    latents: whose noise to draw: phases of equal `latents` names share it within a step;
        empty = this phase's own.
    every: in which steps it runs (lazy regularisation: every 4, 16, …).
    repeats: turns a step, a number or a function of the state (WGAN's five).
    when: skips the phase where it answers False (data-dependent turns).
    gain: multiplies the gradient (lazy phases carry `every` here).
    apply: `end` holds the step of the optimiser back to the end of the step (simultaneous play).
    evaluating: networks in evaluation mode during this phase.
    """

    name: str
    player: str
    objective: Objective
    batch: Literal["fresh", "same", "none"] = "fresh"
    latents: str = ""
    every: int = 1
    repeats: int | Callable[[State], int] = 1
    when: Callable[[State], bool] | None = None
    gain: float = 1.0
    apply: Literal["now", "end"] = "now"
    evaluating: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Segment:
    """A chapter of a curriculum: its phases until `examples` more have been seen (None = rest).

    rebuild: networks that begin it with fresh weights, drawn from (seed, attempt, segment).
    """

    name: str
    phases: tuple[Phase, ...]
    examples: int | None = None
    reset_optimisers: bool = False
    rebuild: tuple[str, ...] = ()
