"""A GAN design: what a file in `families/` has to say of its networks, players, phases and samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn

from pipeline.contract.extractor import AnyExtractor
from pipeline.contract.turns import LatentSpec, Networks, Phase, Player, Segment, State
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec

ConfigT = TypeVar("ConfigT", bound=Settings)


@dataclass(frozen=True, slots=True)
class Resizing:
    """How the networks of a design that makes images from images take inputs of any size.

    scale: how many times larger each side of the output is. multiple: sides of an input must be multiples of it.
    least: the shortest side that they take.
    """

    scale: int = 1
    multiple: int = 1
    least: int = 1


class Family(ABC, Generic[ConfigT]):
    """One GAN design. A file in `families/` holds `Config` and one subclass named `Family`.

    Class attributes say what holds for every Config; properties what depends on it. `objective` is the
    score that the search and `publish: best` go by: `frechet`, or one that `measure` gives. `name` is the file's.
    `reads_summary`: `build` looks at `spec.summary`, so that a published model's card keeps it. `least_lane`: examples
    that a lane needs.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    objective: ClassVar[str] = "frechet"
    reads_summary: ClassVar[bool] = False
    least_lane: ClassVar[int] = 1

    def __init_subclass__(cls, **keys: Any) -> None:
        super().__init_subclass__(**keys)
        cls.name = cls.__module__.rpartition(".")[2]

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

    @property
    def resizing(self) -> Resizing | None:
        """How `sample` takes inputs of other sizes than the data's; None where it takes no others."""
        return None

    @property
    def assets(self) -> tuple[str, ...]:
        """Pretrained weights that its objectives look through, by their files in `assets/`."""
        return ()

    @property
    def perceives(self) -> bool:
        """Whether its objectives look through the reference's extractor, which training hands to `perceive`."""
        return False

    def perceive(self, extractor: AnyExtractor) -> None:
        """Take the reference's extractor, loaded and frozen. Called before training, where it `perceives`."""

    @property
    def learnt_encoder(self) -> Mapping[str, Any] | None:
        """Name and keys of its text encoder, where that is one that the reference stage trains; else None."""
        return None

    def take_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Take that encoder's tensors, which `build` is to give it. Called before training."""

    def modern_state(self, network: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One network's weights, stored by this version or an earlier one, by today's names."""
        return dict(state)

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse data with fewer than two classes for a class-conditional design.

        Raises:
            SettingsError: naming the family's key.
        """
        if self.conditional and len(classes) < 2:
            found = f"one class, '{classes[0]}'" if classes else "no classes"
            raise SettingsError(
                f"families.{self.name}.conditional: is true, and the data has {found}; "
                "set it to false, or label the data (class sub-folders, or a labels csv)"
            )

    def check(self, spec: DataSpec) -> None:
        """Refuse, with a `SettingsError`, data this design cannot be built for. Builds nothing."""

    def check_lane(self, size: int) -> None:
        """Refuse, with a `SettingsError`, lanes of so many examples (batch_size / lanes)."""

    @abstractmethod
    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        """Its networks by name, initialised from torch's default generator; works on the meta device.

        `spec.summary` says what the training data is on average. It is None where no data has been read yet: shapes
        may not depend on it.
        """

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

        Rows of a table have the units of x and no bounds. Truncation scales the latents where the design has no better
        meaning for it.
        """

    def settled(self, networks: Networks) -> Networks:
        """The networks as samples are drawn by, from those that were trained and averaged; these stay as they are.

        For designs whose batch norm needs new statistics first. The answer depends on the networks alone.
        """
        return networks

    def measure(self, networks: Networks, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores of its own, each (n,) with a number a sample, for designs that no extractor can measure.

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


class Advancing(Protocol):
    """A module whose state moves once a phase, before the lanes (spectral norm's iteration)."""

    def advance(self) -> None: ...
