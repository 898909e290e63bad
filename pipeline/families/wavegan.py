"""WaveGAN: raw sound from noise, DCGAN laid out in one dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Scheduled, Turn
from pipeline.families import _shared
from pipeline.families._shared import Canon
from pipeline.networks.waves import WaveCritic, WaveGenerator, WavePlan, near_length, quadruplings
from pipeline.settings import Settings, SettingsError
from pipeline.types import Batch, DataSpec


class PlayerOptimiser(Optimiser):
    """Adam as in the paper: 1e-4, (0.5, 0.9)."""

    lr: Scheduled = 1e-4
    beta1: Scheduled = 0.5
    beta2: Scheduled = 0.9


class Config(Settings):
    """Donahue et al. 2019; the data's length must be base·stride^levels, such as 16384 = 16·4^5."""

    latent: int = Field(default=100, ge=1, description="numbers of noise, U(−1, 1)")
    width: int = Field(default=64, ge=1, description="maps next to the sound, doubled towards the shortest map")
    kernel: int = Field(default=25, ge=2)
    stride: int = Field(default=4, ge=2)
    levels: int | None = Field(default=None, ge=1, le=12, description="none: as many as leave `shortest`")
    shortest: int = Field(default=16, ge=1, description="samples of the shortest map at least, where levels is none")
    phase_shuffle: int = Field(default=2, ge=0, description="largest shift behind the critic's first four levels")
    filter: int = Field(default=0, ge=0, description="taps of a learnt filter behind the generator, as 512; 0: none")
    n_critic: int = Field(default=5, ge=1, description="critic steps a generator step, each on fresh data")
    loss: _shared.LossChoice = Field(default={"name": "wasserstein"}, description="a file of pipeline/losses")
    penalty: _shared.PenaltyChoice | None = Field(default={"name": "gradient_penalty"})
    generator: PlayerOptimiser = PlayerOptimiser()
    critic: PlayerOptimiser = PlayerOptimiser()

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.kernel < self.stride:
            raise ValueError(
                f"kernel: {self.kernel} is not allowed below stride: {self.stride}; samples would be skipped"
            )
        _shared.check_bounded(self.loss, self.penalty)
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "sc09": {},
    "seconds4": {"levels": 6},
    "drums_filtered": {"filter": 512},
    # Half a second at 8 kHz (4096 samples) or a whole one (8192): free spoken digits.
    "smoke": {
        "latent": 32,
        "width": 4,
        "levels": 4,
        "n_critic": 2,
        "generator": {"lr": 1e-3},
        "critic": {"lr": 1e-3},
    },
}

CANON: dict[str, Canon] = {
    "sc09": Canon("WaveGAN 16384", (1, 16_384), modality="waveform"),
    "seconds4": Canon("WaveGAN 65536", (1, 65_536), modality="waveform"),
}


class Family(BaseFamily[Config]):
    """“Adversarial audio synthesis”, Donahue et al. 2019.

    WGAN-GP, E[D(G(z))] − E[D(x)] + 10·E[(‖∇D(x̂)‖₂ − 1)²] for the critic, on one-dimensional convolutions of 25
    and stride 4, padded as TensorFlow's SAME. Phase shuffle moves the critic's inner maps by up to ±2 samples,
    one shift for a whole lane, so that it cannot tell fakes by the phase of transposed convolutions' artefacts.
    Good for: short sounds such as words, drums, birds, of a second at 16 kHz.
    """

    paper = "Donahue, McAuley, Puckette 2019, arXiv:1802.04208"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loss = _shared.load_loss(config.loss)
        self._penalty = _shared.load_penalty(config.penalty) if config.penalty else None

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,), "uniform"),)

    def check(self, spec: DataSpec) -> None:
        self._plan(spec)

    def _plan(self, spec: DataSpec) -> WavePlan:
        config = self.config
        if spec.modality != "waveform":
            raise SettingsError(
                f"families.wavegan: makes sound, and the data is {spec.modality}; choose another family, or the source "
                "wav_folder"
            )
        (length,) = spec.resolution
        most = quadruplings(length, config.stride, 1)
        levels = quadruplings(length, config.stride, config.shortest) if config.levels is None else config.levels
        if levels == 0 or levels > most:
            wanted = max(levels, 1)
            raise SettingsError(
                f"families.wavegan{'' if config.levels is None else '.levels'}: {length} samples are no "
                f"base·{config.stride}^{wanted}; take ingest.source.length: "
                f"{near_length(length, config.stride, wanted)}"
            )
        shortest = length // config.stride**levels
        if config.phase_shuffle >= config.stride * shortest and levels > 1:
            raise SettingsError(
                f"families.wavegan.phase_shuffle: {config.phase_shuffle} is not allowed; the shortest shuffled map has "
                f"{config.stride * shortest} samples"
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
        plan = self._plan(spec)
        return {"generator": WaveGenerator(plan, self.config.latent), "discriminator": WaveCritic(plan)}

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", ("discriminator",), self.config.critic),
            Player("generator", ("generator",), self.config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """n_critic critic steps on fresh batches, then G with noise of its own."""
        return (
            Phase("discriminator", "discriminator", self._critic, repeats=self.config.n_critic),
            Phase("generator", "generator", self._generator, batch="same"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return networks["generator"](latents["z"] * truncation)

    # --- objectives ---

    def _critic(self, turn: Turn) -> dict[str, Tensor]:
        network, shifts = turn.networks["discriminator"], turn.generator("phases")
        real = _shared.real_of(turn)
        fake = _shared.without_graph(lambda: turn.networks["generator"](turn.latents["z"]))
        on_real, on_fake = network(real, shifts), network(fake, shifts)
        loss = self._loss.critic(on_real, on_fake)
        parts = {"total": loss, "loss": loss, **_shared.critic_means(on_real, on_fake)}
        if self._penalty is not None:
            penalty = self._penalty(lambda x: network(x, shifts), real, fake, turn.generator("penalty"))
            parts |= {"total": loss + penalty, "penalty": penalty}
        return parts

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        network, shifts = turn.networks["discriminator"], turn.generator("phases")
        real = _shared.real_of(turn) if self._loss.needs_real else None
        on_real = None if real is None else _shared.without_graph(lambda: network(real, shifts))
        on_fake = network(turn.networks["generator"](turn.latents["z"]), shifts)
        return {"total": self._loss.generator(on_real, on_fake), "fake": on_fake.detach().mean()}
