"""What ProGAN and StyleGAN play alike: the growth of both networks, faded reals, one objective a player."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeVar, cast

from pydantic import Field, model_validator
from torch import Tensor

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Scheduled, Segment, State, Turn
from pipeline.families import _geometry, _shared
from pipeline.networks.grown import Detail, GrownPlan, at_detail
from pipeline.networks.minibatch import MinibatchName
from pipeline.settings import Settings
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


class GrownOptimiser(Optimiser):
    """Adam (0, 0.99) at 1e-3."""

    lr: Scheduled = 1e-3
    beta1: Scheduled = 0.0
    beta2: Scheduled = 0.99


class GrownConfig(Settings):
    """The keys that both designs have.

    levels: doublings from the smallest map to the data's H×W, which must be base·2^levels.
    width, max_width: maps are min(width / 2^stage, max_width), the smallest map is stage 1.
    """

    conditional: bool = Field(default=False, description="labels enter both networks")
    latent: int = Field(default=512, ge=1, description="numbers of noise")
    levels: int = Field(default=3, ge=1, le=10, description="doublings: 3 from 4 to 32 pixels, 8 to 1024")
    width: int = Field(default=8192, ge=1, description="maps at stage 0, halved at each; `fmap_base`")
    max_width: int = Field(default=512, ge=1, description="no layer has more maps; `fmap_max`")
    stable: int = Field(default=600_000, gt=0, description="examples at each level once it is in")
    fade: int = Field(default=600_000, gt=0, description="examples in which a level fades in")
    minibatch: MinibatchName = Field(default="deviation", description="what D sees of the rest of its batch")
    group: int = Field(default=4, ge=1, description="deviation: examples a group, within a lane")
    loss: _shared.LossChoice = Field(default={"name": "non_saturating"}, description="a file of pipeline/losses")
    penalty: _shared.PenaltyChoice | None = Field(default=None, description="on the discriminator, at every step")
    augment: _shared.AugmentChoice | None = Field(default=None, description="a file of pipeline/augmentation")
    generator: GrownOptimiser = GrownOptimiser()
    discriminator: GrownOptimiser = GrownOptimiser()

    @model_validator(mode="after")
    def _bounded(self) -> GrownConfig:
        _shared.check_bounded(self.loss, self.penalty)
        _shared.check_augment(self.augment, self.loss)
        return self


C = TypeVar("C", bound=GrownConfig)


class GrownFamily(BaseFamily[C]):
    """Segments, phases and objectives; a design adds its networks and what its critic's outputs mean.

    Every block and image head exists from the beginning. Those that a segment does not use get the
    gradient zero, and since optimisers forget at each segment Adam leaves them where they are. Images
    are always of full size: what a low level makes is enlarged, and the critic takes means of cells.
    """

    name: ClassVar[str]
    first: ClassVar[int] = 0

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._loss = _shared.load_loss(config.loss)
        self._penalty = _shared.load_penalty(config.penalty) if config.penalty else None
        self._augmentation = _shared.load_augmentation(config.augment)
        self.growth = Growth(config.levels, min(self.first, config.levels), config.stable, config.fade)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,)),)

    def check(self, spec: DataSpec) -> None:
        _shared.check_image(self.name, spec)
        _shared.check_classes(self.name, self.config.conditional, spec)
        _geometry.find_base(self.name, spec.resolution, self.config.levels, 1)

    def plan(self, spec: DataSpec) -> GrownPlan:
        """Sizes and maps for this data."""
        config = self.config
        (height, width), levels = _geometry.find_base(self.name, spec.resolution, config.levels, 1)
        return GrownPlan((height, width), levels, spec.channels, config.width, config.max_width)

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", ("discriminator",), self.config.discriminator),
            Player("generator", ("generator",), self.config.generator),
        )

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
        """D, then G with noise of its own."""
        lod = partial(self.growth.lod_within, level=level, fading=fading)

        return (
            Phase("discriminator", "discriminator", lambda turn: self._judge(turn, lod(turn.state.examples_seen))),
            Phase("generator", "generator", lambda turn: self._forge(turn, lod(turn.state.examples_seen)), "same"),
        )

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        return _shared.augment_state(self._augmentation)

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        """The lod at which samples are drawn from now on; ADA's p."""
        lod = self.growth.lod(state.examples_seen)
        for module in networks["generator"].modules():
            if isinstance(module, Detail):
                module.set(lod)
        _shared.move_augment(self._augmentation, state, observed)

    # --- what a design adds ---

    @abstractmethod
    def make(self, turn: Turn, label: Tensor | None, lod: float) -> Tensor:
        """Fakes (n, *spec.shape) of this turn's noise."""

    @abstractmethod
    def read(self, outputs: Tensor, label: Tensor | None) -> Tensor:
        """Logits (n,) of the critic's outputs (n, k)."""

    def class_loss(self, outputs: Tensor, label: Tensor | None) -> Tensor | None:
        """Already weighted; none where the critic names no classes."""
        return None

    # --- objectives ---

    def _logits(self, turn: Turn, x: Tensor, lod: float, purpose: str) -> tuple[Tensor, Tensor]:
        label = _shared.label_of(turn, self.config.conditional)
        outputs = turn.networks["discriminator"](_shared.shown(self._augmentation, turn, x, purpose), lod)
        return self.read(outputs, label), outputs

    def _judge(self, turn: Turn, lod: float) -> dict[str, Tensor]:
        """Loss + penalty (+ both cross-entropies) on reals as coarse, and as faded, as the fakes."""
        label = _shared.label_of(turn, self.config.conditional)
        real = at_detail(_shared.real_of(turn), cast(GrownPlan, turn.networks["discriminator"].plan), lod)
        fake = _shared.without_graph(lambda: self.make(turn, label, lod))
        on_real, real_outputs = self._logits(turn, real, lod, "real")
        on_fake, fake_outputs = self._logits(turn, fake, lod, "fake")
        loss = self._loss.critic(on_real, on_fake)
        parts = {"total": loss, "loss": loss, **_shared.critic_parts(on_real, on_fake)}
        parts |= _shared.sign_part(self._augmentation, turn, on_real)
        if self._penalty is not None:
            source = turn.generator("penalty")
            parts["penalty"] = self._penalty(lambda x: self._logits(turn, x, lod, "penalty")[0], real, fake, source)
            parts["total"] = parts["total"] + parts["penalty"]
        for name, outputs in (("class_real", real_outputs), ("class_fake", fake_outputs)):
            named = self.class_loss(outputs, label)
            if named is not None:
                parts[name] = named
                parts["total"] = parts["total"] + named
        return parts

    def _forge(self, turn: Turn, lod: float) -> dict[str, Tensor]:
        label = _shared.label_of(turn, self.config.conditional)
        on_real = None
        if self._loss.needs_real:
            real = at_detail(_shared.real_of(turn), cast(GrownPlan, turn.networks["discriminator"].plan), lod)
            on_real = _shared.without_graph(lambda: self._logits(turn, real, lod, "real")[0])
        on_fake, outputs = self._logits(turn, self.make(turn, label, lod), lod, "fake")
        loss = self._loss.generator(on_real, on_fake)
        parts = {"total": loss, "loss": loss, "fake": on_fake.detach().mean(), "lod": loss.new_tensor(lod)}
        named = self.class_loss(outputs, label)
        if named is not None:
            parts |= {"class": named, "total": loss + named}
        return parts


def count_classes(spec: DataSpec, conditional: bool) -> int:
    """The classes that networks are built for: 0 where labels are not used."""
    return len(spec.classes) if conditional else 0
