"""What plug-ins and loop agree on: families, players, phases, turns; worlds and reporters.

The loop knows nothing of any family but what stands here. A *step* runs the phases of the
current segment in order. Each turn of a phase cuts the global batch into `lanes` micro-batches;
a phase's objective sees one lane at a time, as a `Turn`, and is pure: networks and tensors in,
`{"total": …, named parts…}` out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline import randomness
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec

Networks = Mapping[str, nn.Module]


# --- optimisers -----------------------------------------------------------------------------


class Ramp(Settings):
    """A value that waits for `after` examples, moves from one end to the other over `examples`, then stays.

    `geometric` moves by equal factors; both ends must then be above 0.
    """

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    examples: int = Field(gt=0)
    after: int = Field(default=0, ge=0)
    shape: Literal["linear", "cosine", "geometric"] = "linear"

    @model_validator(mode="after")
    def _positive(self) -> Ramp:
        if self.shape == "geometric" and min(self.start, self.end) <= 0:
            raise ValueError("shape: geometric needs both ends above 0")
        return self


Scheduled = Annotated[float, Field(ge=0)] | Ramp


def scheduled_value(scheduled: Scheduled, examples_seen: int) -> float:
    """A setting at this point of the clock; ramps stay at their end."""
    if isinstance(scheduled, (int, float)):
        return float(scheduled)
    share = min(max(examples_seen - scheduled.after, 0) / scheduled.examples, 1.0)
    if scheduled.shape == "geometric":
        return scheduled.start * (scheduled.end / scheduled.start) ** share
    if scheduled.shape == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return scheduled.start + (scheduled.end - scheduled.start) * share


class Optimiser(Settings):
    """One player's optimiser; every value that may move does so on the clock of examples seen.

    `adam` is Kingma & Ba 2015; `rmsprop` is torch's (eps outside the root); `sgd` takes
    `momentum`.
    """

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: Scheduled = 2e-4
    beta1: Scheduled = 0.5
    beta2: Scheduled = 0.999
    eps: float = Field(default=1e-8, gt=0)
    momentum: Scheduled = 0.0
    weight_decay: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _moves(self) -> Optimiser:
        if max(_ends(self.lr)) == 0:
            raise ValueError("lr: 0 is not allowed; it must be above 0, or nothing is learnt")
        for name, value in (("beta1", self.beta1), ("beta2", self.beta2), ("momentum", self.momentum)):
            if max(_ends(value)) >= 1:
                raise ValueError(f"{name}: {max(_ends(value)):g} is not allowed; it must be below 1")
        return self


def _ends(scheduled: Scheduled) -> tuple[float, float]:
    return (scheduled.start, scheduled.end) if isinstance(scheduled, Ramp) else (scheduled, scheduled)


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
    repeats: turns a step, a number or a function of the state (n_critic).
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


# --- a family -------------------------------------------------------------------------------

ConfigT = TypeVar("ConfigT", bound=Settings)


class Family(ABC, Generic[ConfigT]):
    """One GAN design. A file in `families/` holds `Config` and one subclass named `Family`.

    Class attributes say what holds for every Config; properties what depends on it. `objective` is the
    score that the search and `publish: best` go by: `frechet`, or one that `measure` gives.
    """

    paper: ClassVar[str]
    objective: ClassVar[str] = "frechet"

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @property
    def needs(self) -> frozenset[str]:
        """Batch fields it reads; `label` among them makes it class-conditional."""
        return frozenset({"x"})

    @property
    @abstractmethod
    def latents(self) -> LatentSpec:
        """The noise it draws for each sample, whatever the data."""

    def latents_for(self, spec: DataSpec) -> LatentSpec:
        """All noise it draws for data of this shape: maps as large as the image, too, where it takes such."""
        return self.latents

    @property
    def averaged(self) -> tuple[str, ...]:
        """Networks that are averaged over training, published and sampled from."""
        return ("generator",)

    @property
    def conditional(self) -> bool:
        return "label" in self.needs

    @property
    def inputs(self) -> frozenset[str]:
        """Batch fields that a sample is made *from*, such as the other half of a pair; none for most designs."""
        return frozenset()

    def check(self, spec: DataSpec) -> None:
        """Refuse, with a `SettingsError`, data this design cannot be built for. Builds nothing."""

    @abstractmethod
    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        """Its networks by name, initialised from torch's default generator; works on the meta device."""

    @abstractmethod
    def players(self) -> tuple[Player, ...]:
        """Who owns which networks."""

    def phases(self) -> tuple[Phase, ...]:
        """The phases of a design without a curriculum."""
        return ()

    def segments(self) -> tuple[Segment, ...]:
        """The curriculum; by default one segment of `phases()`."""
        return (Segment("all", self.phases()),)

    @abstractmethod
    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Samples (n, *spec.shape) in [-1, 1]; `condition` holds `label` where it is conditional, and its `inputs`.

        Truncation scales the latents where the design has no better meaning for it.
        """

    def measure(self, networks: Networks, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of its own, each (n,) with a number a sample, for designs that no extractor can judge.

        Their means stand in the report by these names, and `objective` may be one of them. Smaller is better.
        """
        return {}

    def conclude(self, means: Mapping[str, float]) -> dict[str, float]:
        """What follows from the means of `measure`: further scores, by name."""
        return {}

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        """Initial tensors of the design's own state, equal on every rank."""
        return {}

    def lane_state(self, spec: DataSpec, lane_size: int) -> dict[str, Tensor]:
        """Initial tensors each lane keeps for itself (pools of fakes)."""
        return {}

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        """Once a step, after every optimiser: weight clipping, ADA's p. Equal on every rank.

        `observed` holds the parts of the step's objectives, averaged over lanes, as
        `phase/part`.
        """

    def procedures(self) -> dict[str, Callable[..., Any]]:
        """What else people do with a trained model of this design."""
        return {}


AnyFamily = Family[Any]


# --- networks that keep counted state ---------------------------------------------------------


class Advancing(Protocol):
    """A module whose state moves once a phase, before the lanes (spectral norm's iteration)."""

    def advance(self) -> None: ...


# --- where it runs, and how progress leaves the loop ------------------------------------------


class World(Protocol):
    """Rank, size and device, and the two ways ranks speak; every call is made by every rank."""

    rank: int
    size: int
    device: torch.device

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        """Send `tensor` to `partner` and return what it sent: same shape, same type."""
        ...

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over ranks in the backend's own order (`reduction: fast`)."""
        ...

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every rank's tensor, in rank order, on every rank; shapes must be equal."""
        ...

    def barrier(self) -> None: ...


class LocalWorld:
    """The world of one process."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.rank = 0
        self.size = 1
        self.device = torch.device(device)

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        raise RuntimeError(f"a world of one has no rank {partner} to exchange with")

    def all_reduce(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather(self, tensor: Tensor) -> list[Tensor]:
        return [tensor]

    def barrier(self) -> None:
        return None


Record = dict[str, float | int | str | None]


class Reporter(Protocol):
    """How progress leaves the loop. Called on rank 0 only."""

    def tick(self, record: Record) -> None:
        """One line of progress: plain floats, ints and strings."""
        ...

    def note(self, message: str) -> None:
        """Something a person should read once: a resume, a roll-back, a warning."""
        ...


class MemoryReporter:
    """Keeps what it is told: for tests, and for callers that want the history."""

    def __init__(self) -> None:
        self.ticks: list[Record] = []
        self.notes: list[str] = []

    def tick(self, record: Record) -> None:
        self.ticks.append(record)

    def note(self, message: str) -> None:
        self.notes.append(message)


class Scorer(Protocol):
    """Scores the averaged networks during training; called by every rank, answers on every rank."""

    def __call__(self, networks: Networks, world: World) -> Mapping[str, float]: ...


class Loss(Protocol):
    """A pair of pure functions of logits; both return a scalar mean over the batch.

    needs_real: whether `generator` looks at logits on reals (relativistic losses do).
    """

    needs_real: bool

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the critic minimises."""
        ...

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """What the generator minimises; only relativistic losses look at `real`."""
        ...


Critic = Callable[[Tensor], Tensor]


class Penalty(Protocol):
    """A pure function of (critic, real, fake), already weighted; scalar mean over the batch.

    needs_fake: whether it looks at `fake`; where not, anything of its shape may be handed in.
    """

    needs_fake: bool

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor: ...


class Augmentation(Protocol):
    """What the critic is shown in place of images: differentiable, every draw from the handed generator.

    Reals and fakes pass it alike, in the generator's turn too. Its own state (ADA's p) lives in
    `State.tensors` and moves in `Family.after_step`.
    """

    def state(self) -> dict[str, Tensor]:
        """Initial tensors for `Family.state`."""
        ...

    def __call__(self, x: Tensor, state: State, generator: torch.Generator) -> Tensor:
        """Images (n, c, h, w), each changed by draws of its own; same shape."""
        ...

    def after_step(self, state: State, sign: float | None) -> None:
        """Move its state by a step's mean of sign D(real), averaged over lanes; None if D did not play."""
        ...


Progress = Callable[[Iterable[Any]], Iterable[Any]]
