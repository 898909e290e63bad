"""WaveGAN: raw sound from noise, DCGAN laid out in one dimension."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Turn
from pipeline.errors import SettingsError
from pipeline.families._adversarial import LatentFamily
from pipeline.families._shared import Canon, both
from pipeline.families._sounds import SoundSettings
from pipeline.networks.architectures.wavegan import WaveCritic, WaveGenerator, WavePlan, near_length, quadruplings
from pipeline.types import DataSpec, Modality


class Config(SoundSettings):
    """Donahue et al. 2019; the data's length must be base·stride^levels, such as 16384 = 16·4^5."""

    width: int = Field(default=64, ge=1, description="maps next to the sound, doubled towards the shortest map")
    levels: int | None = Field(default=None, ge=1, le=12, description="none: as many as leave `shortest`")
    shortest: int = Field(default=16, ge=1, description="samples of the shortest map at least, where levels is none")
    phase_shuffle: int = Field(default=2, ge=0, description="largest shift behind the critic's first four levels")
    filter: int = Field(default=0, ge=0, description="taps of a learnt filter behind the generator, as 512; 0: none")


PRESETS: dict[str, dict[str, Any]] = {
    "sc09": {},
    "seconds4": {"levels": 6},
    "drums_filtered": {"filter": 512},
    # Half a second at 8 kHz (4096 samples) or a whole one (8192): free spoken digits.
    "smoke": {"latent": 32, "width": 4, "levels": 4, "discriminator_steps": 2, **both(lr=1e-3)},
}

CANON: dict[str, Canon] = {
    "sc09": Canon("WaveGAN 16384", (1, 16_384), modality="waveform", counts=(19_065_345, 17_427_969)),
    "seconds4": Canon("WaveGAN 65536", (1, 65_536), modality="waveform", counts=(73_149_953, 69_875_201)),
}


class Family(LatentFamily[Config]):
    """“Adversarial audio synthesis”, Donahue et al. 2019.

    WGAN-GP, E[D(G(z))] − E[D(x)] + 10·E[(‖∇D(x̂)‖₂ − 1)²] for the critic, on one-dimensional convolutions of 25
    and stride 4, padded as TensorFlow's SAME. Phase shuffle moves the critic's inner maps by up to ±2 samples,
    one shift for a whole lane, so that it cannot tell fakes by the phase of transposed convolutions' artefacts.
    Good for: short sounds such as words, drums, birds, of a second at 16 kHz.
    """

    paper = "Donahue, McAuley, Puckette 2019, arXiv:1802.04208"

    modality: ClassVar[Modality] = "waveform"

    @property
    def distribution(self) -> Literal["normal", "uniform"]:
        return "uniform"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._plan(spec)

    def _plan(self, spec: DataSpec) -> WavePlan:
        config = self.config
        (length,) = spec.resolution
        most = quadruplings(length, config.stride, 1)
        levels = quadruplings(length, config.stride, config.shortest) if config.levels is None else config.levels
        if levels == 0 or levels > most:
            wanted = max(levels, 1)
            raise SettingsError(
                f"families.{self.name}{'' if config.levels is None else '.levels'}: {length} samples are no "
                f"base·{config.stride}^{wanted}; take ingest.source.length: "
                f"{near_length(length, config.stride, wanted)}"
            )
        shortest = length // config.stride**levels
        if config.phase_shuffle >= config.stride * shortest and levels > 1:
            raise SettingsError(
                f"families.{self.name}.phase_shuffle: {config.phase_shuffle} is not allowed; the shortest shuffled map "
                f"has {config.stride * shortest} samples"
            )
        return WavePlan(
            shortest,
            levels,
            spec.channels,
            config.width,
            config.kernel,
            config.stride,
            config.filter,
            config.phase_shuffle,
        )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        plan = self._plan(spec)
        return {"generator": WaveGenerator(plan, self.config.latent), "discriminator": WaveCritic(plan)}

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        """The passes of one turn shuffle phases by one stream of draws."""
        name = f"{turn.phase}/{turn.repeat}/phases"
        shifts = turn.once(name, lambda: turn.generator("phases"))
        return turn.networks["discriminator"](self.augmented(turn, x, purpose), shifts)
