"""What ProGAN and StyleGAN play alike: the growth of both networks, faded reals, one objective a player."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, TypeVar, cast

from pydantic import Field, model_validator
from torch import Tensor

from pipeline.contract import Networks, Objective, Optimiser, Phase, Segment, State, Turn
from pipeline.families import _choices, _geometry
from pipeline.families._adversarial import LatentFamily, Passes, Terms
from pipeline.families._settings import LatentSettings
from pipeline.networks.blocks.growing import Detail, GrownPlan, at_detail
from pipeline.networks.layers.minibatch import MinibatchName
from pipeline.types import DataSpec


@dataclass(frozen=True, slots=True)
class Growth:
    """The level of detail on the clock: `stable` examples at a level, `fade` into the next, and so on.

    lod runs from levels − first down to 0; lengths are in examples.
    """

    levels: int
    first: int
    stable: int
    fade: int

    def lod(self, examples_seen: int) -> float:
        """lod at this point of the run; a fraction while a level fades in."""
        done, within = divmod(examples_seen, self.stable + self.fade)
        return max(0.0, self.levels - self.first - done - max(within - self.stable, 0) / self.fade)

    def lod_within(self, examples_seen: int, level: int, fading: bool) -> float:
        """The same inside the segment of `level`, whatever the clock says just outside."""
        grown = float(self.levels - level)
        return min(max(self.lod(examples_seen), grown), grown + 1) if fading else grown


ADAM = Optimiser(lr=1e-3, beta1=0.0, beta2=0.99)


class GrownConfig(LatentSettings):
    """The keys that both designs have.

    levels: doublings from the smallest map to the data's H×W, which must be base·2^levels.
    width, max_width: maps are min(width / 2^stage, max_width), the smallest map is stage 1.
    """

    latent: int = Field(default=512, ge=1, description="numbers of noise")
    levels: int = Field(default=3, ge=1, le=10, description="doublings: 3 from 4 to 32 pixels, 8 to 1024")
    width: int = Field(default=8192, ge=1, description="maps at stage 0, halved at each; `fmap_base`")
    max_width: int = Field(default=512, ge=1, description="no layer has more maps; `fmap_max`")
    stable: int = Field(default=600_000, gt=0, description="examples at each level once it is in")
    fade: int = Field(default=600_000, gt=0, description="examples in which a level fades in")
    minibatch: MinibatchName = Field(default="deviation", description="what D sees of the rest of its batch")
    group: int = Field(default=4, ge=1, description="deviation: examples a group, within a lane")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _bounded(self) -> GrownConfig:
        _choices.check_bounded(self.loss, self.penalties)
        return self


C = TypeVar("C", bound=GrownConfig)


class GrownFamily(LatentFamily[C]):
    """The curriculum, and what both players see of it; a design adds its networks and what D's outputs mean.

    Every block and image head exists from the beginning. Those that a segment does not use get the
    gradient zero, and since optimisers forget at each segment Adam leaves them where they are. Images
    are always of full size: what a low level makes is enlarged, and D takes means of cells.
    """

    first_level: ClassVar[int] = 0

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self.growth = Growth(config.levels, min(self.first_level, config.levels), config.stable, config.fade)

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self.plan(spec)

    def plan(self, spec: DataSpec) -> GrownPlan:
        """Sizes and maps for this data."""
        config = self.config
        (height, width), levels = _geometry.find_base(self.name, spec.resolution, config.levels, 1)
        return GrownPlan((height, width), levels, spec.channels, config.width, config.max_width)

    def segments(self) -> tuple[Segment, ...]:
        """`stable` at the first level, then for each further one a fade and a stable segment; the last is the rest.

        Optimisers are reset at every entry: the references do so whenever lod passes a whole number,
        at the beginning and at the end of a fade.
        """
        growth = self.growth
        found: list[Segment] = []
        for level in range(growth.first, growth.levels + 1):
            later = level > growth.first
            if later:
                found.append(Segment(f"fade to level {level}", self._turns(level, True), growth.fade, True))
            length = growth.stable if level < growth.levels else None
            found.append(Segment(f"level {level}", self._turns(level, False), length, later))
        return tuple(found)

    def _turns(self, level: int, fading: bool) -> tuple[Phase, ...]:
        """The phases at one level's lod, which lies in the turn's memory."""

        def play(objective: Objective, turn: Turn) -> dict[str, Tensor]:
            turn.memory["lod"] = self.growth.lod_within(turn.state.examples_seen, level, fading)
            return objective(turn)

        return tuple(replace(phase, objective=partial(play, phase.objective)) for phase in self.phases())

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        """The lod at which samples are drawn from now on; ADA's p."""
        lod = self.growth.lod(state.examples_seen)
        for module in networks["generator"].modules():
            if isinstance(module, Detail):
                module.set(lod)
        super().after_step(networks, state, observed)

    # --- what a design adds ---

    @abstractmethod
    def read(self, outputs: Tensor, label: Tensor | None) -> Tensor:
        """Logits (n,) of the discriminator's outputs (n, k)."""

    def class_loss(self, outputs: Tensor, label: Tensor) -> tuple[float, Tensor] | None:
        """Its weight and value; none where D names no classes."""
        return None

    # --- hooks ---

    def lod(self, turn: Turn) -> float:
        """The level of detail of this turn."""
        return turn.memory["lod"]

    def real(self, turn: Turn) -> Tensor:
        """The data as coarse, and as faded, as the fakes."""
        return at_detail(super().real(turn), cast(GrownPlan, turn.networks["discriminator"].plan), self.lod(turn))

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
        outputs = turn.networks["discriminator"](self.augmented(turn, x, purpose), self.lod(turn))
        return self.read(outputs, self.label(turn)), outputs

    def logits(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        return outputs[0]

    def discriminator_terms(self, turn: Turn, seen: Passes) -> Terms:
        return self._class_terms(turn, {"class_real": seen.on_real[1], "class_fake": seen.on_fake[1]})

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        lod = seen.fake.new_tensor(self.lod(turn))
        return {"lod": (0.0, lod), **self._class_terms(turn, {"class": seen.on_fake[1]})}

    def _class_terms(self, turn: Turn, outputs: Mapping[str, Tensor]) -> Terms:
        label = self.label(turn)
        terms = {} if label is None else {name: self.class_loss(each, label) for name, each in outputs.items()}
        return {name: term for name, term in terms.items() if term is not None}
