"""What the designs of Donahue et al. 2019 have in common: strided convolutions, a critic, sound."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from pipeline.contract import Optimiser
from pipeline.families import _choices
from pipeline.families._choices import LossChoice, PenaltyChoices
from pipeline.families._settings import LatentSettings

ADAM = Optimiser(lr=1e-4, beta1=0.5, beta2=0.9)


class SoundSettings(LatentSettings):
    """WGAN-GP of five turns, for networks of kernels that stride over sound or its spectrogram."""

    labelled: ClassVar[bool] = False

    discriminator_steps: int = Field(default=5, ge=1, description="turns of the critic a step, each on fresh data")
    loss: LossChoice = Field(default={"name": "wasserstein"}, description="a file of pipeline/losses")
    penalties: PenaltyChoices = Field(default=({"name": "gradient_penalty"},), description="of pipeline/penalties")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM
    kernel: int = Field(default=25, ge=2)
    stride: int = Field(default=4, ge=2)

    @model_validator(mode="after")
    def _fits(self) -> SoundSettings:
        if self.kernel < self.stride:
            raise ValueError(
                f"kernel: {self.kernel} is not allowed below stride: {self.stride}; samples would be skipped"
            )
        if self.augment and self.augment["name"] != "instance_noise":
            raise ValueError(f"augment: {self.augment['name']} changes images, and this is sound; take instance_noise")
        _choices.check_bounded(self.loss, self.penalties)
        return self
