"""The settings that every design of two players has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.contract import Optimiser
from pipeline.families import _choices
from pipeline.settings import Settings

RENAMED = {
    "penalty": "penalties",
    "penalty_every": "penalties.NAME.every",
    "critic": "discriminator",
    "critic_steps": "discriminator_steps",
    "n_critic": "discriminator_steps",
    **{f"critic_{key}": f"discriminator_{key}" for key in ("width", "widths", "norm", "plain", "opening", "head")},
}


class DesignSettings(Settings):
    """The base of every family's Config. An optimiser's keys are laid on the design's own: `{lr: 1e-3}` keeps its β."""

    renamed: ClassVar[Mapping[str, str]] = RENAMED

    @classmethod
    def modern(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        return super().modern(_choices.old_penalties(stored))

    @field_validator("*", mode="before")
    @classmethod
    def _on_the_design_s_own(cls, value: object, info: ValidationInfo) -> object:
        default = cls.model_fields[info.field_name].default if info.field_name else None
        if isinstance(default, Optimiser) and isinstance(value, Mapping):
            return {**dict(default), **cast(Mapping[str, Any], value)}
        return value


class LossSettings(DesignSettings):
    """The keys of every design whose discriminators tell real from fake, however many it has."""

    loss: _choices.LossChoice = Field(default={"name": "non_saturating"}, description="a file of pipeline/losses")
    augment: _choices.AugmentChoice | None = Field(default=None, description="a file of pipeline/augmentation")

    @model_validator(mode="after")
    def _fits_the_loss(self) -> LossSettings:
        _choices.check_augment(self.augment, self.loss)
        return self


class GameSettings(LossSettings):
    """The keys that every design of two players has.

    usual_every: the `every` of a penalty that does not say. labelled: whether the networks can take labels.
    """

    usual_every: ClassVar[int] = 1
    labelled: ClassVar[bool] = True

    conditional: bool = Field(default=False, description="labels enter both networks")
    penalties: _choices.PenaltyChoices = Field(
        default=(), description="files of pipeline/penalties; `every` above 1: a lazy phase, its gradient times that"
    )
    share_fakes: bool = Field(default=False, description="the generator answers for the fakes that D has just seen")
    simultaneous: bool = Field(default=False, description="both gradients at one point, on the same fakes")
    discriminator_steps: int = Field(default=1, ge=1, description="turns of D a step, each on a fresh batch")
    generator: Optimiser = Optimiser()
    discriminator: Optimiser = Optimiser()

    @model_validator(mode="after")
    def _plays(self) -> GameSettings:
        if self.conditional and not self.labelled:
            raise ValueError("conditional: true is not allowed; the networks of this design take no labels")
        if self.shares and self.repeats:
            key = "share_fakes" if self.share_fakes else "simultaneous"
            raise ValueError(f"{key}: one set of fakes cannot serve several turns of D; set it to false")
        return self

    @property
    def shares(self) -> bool:
        """Whether both players see the same fakes."""
        return self.share_fakes or self.simultaneous

    @property
    def repeats(self) -> bool:
        """Whether D ever has several turns a step."""
        return self.discriminator_steps > 1


class LatentSettings(GameSettings):
    """The keys of a design that makes its samples of noise alone."""

    latent: int = Field(default=100, ge=1, description="numbers of noise")


class StackSettings(LatentSettings):
    """The keys of a design whose maps double and halve: the data's H×W must be base·2^levels."""

    levels: int | None = Field(default=None, ge=1, le=10, description="doublings; none: as many as leave `smallest`")
    smallest: int = Field(default=3, ge=1, description="shortest side of the smallest map, where levels is none")
    generator_width: int = Field(default=64, ge=1, description="maps next to the output, or a perceptron's units")
    discriminator_width: int = Field(default=64, ge=1, description="maps next to the input, or a perceptron's units")
