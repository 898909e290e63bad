"""SpecGAN: the spectrogram of a sound from noise, and the sound from the spectrogram."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Networks, Turn
from pipeline.errors import SettingsError
from pipeline.families import _translation
from pipeline.families._adversarial import LatentFamily
from pipeline.families._shared import Canon, both
from pipeline.families._sounds import SoundSettings
from pipeline.networks.architectures.specgan import Analysis, Scale, SpecCritic, SpecGenerator, SpecPlan
from pipeline.networks.architectures.wavegan import quadruplings
from pipeline.types import Batch, DataSpec, FieldSpec, Modality

FIELD = "spectrogram"


class Config(SoundSettings):
    """Donahue et al. 2019; the field `spectrogram` is a derived one of the sounds, base·stride^levels on both axes."""

    width: int = Field(default=64, ge=1, description="maps next to the spectrogram, doubled towards the smallest map")
    kernel: int = Field(default=5, ge=2)
    stride: int = Field(default=2, ge=2)
    levels: int | None = Field(default=None, ge=1, le=12, description="none: as many as leave `smallest`")
    smallest: int = Field(default=4, ge=1, description="shortest side of the smallest map, where levels is none")
    clip: float = Field(default=3.0, gt=0, description="standard deviations of a frequency that become 1; more is cut")
    iterations: int = Field(default=16, ge=1, le=1000, description="of Griffin and Lim, for each sample")


PRESETS: dict[str, dict[str, Any]] = {
    "sc09": {},
    # Half a second at 8 kHz: window 128 and hop 64 make 64 × 64 of 4,096 samples.
    "zoo": {"width": 16, "latent": 64, "discriminator_steps": 3, **both(lr=4e-4)},
    "smoke": {"latent": 16, "width": 2, "levels": 2, "iterations": 2, "discriminator_steps": 2, **both(lr=1e-3)},
}

_FIELD = FieldSpec(
    FIELD,
    "spectrogram",
    (1, 128, 128),
    "float32",
    False,
    "derived",
    "x",
    json.dumps(
        {"floor": 1e-6, "hop": 128, "name": FIELD, "nyquist": False, "padding": "end", "window": 256}, sort_keys=True
    ),
)

CANON: dict[str, Canon] = {
    "sc09": Canon(
        "SpecGAN 128x128", (1, 16_384), modality="waveform", further=(_FIELD,), counts=(19_065_345, 17_427_969)
    )
}


class Family(LatentFamily[Config]):
    """“Adversarial audio synthesis”, Donahue et al. 2019: the design that works on spectrograms.

    WGAN-GP, E[D(G(z))] − E[D(s)] + 10·E[(‖∇D(ŝ)‖₂ − 1)²] for the critic, where s is the log-magnitude of the
    short-time Fourier transform: each frequency normalised over the training data, divided by 3 and cut to [−1, 1].
    Convolutions of 5×5 and stride 2, padded as TensorFlow's SAME. A sample's sound is found by 16 iterations of Griffin
    and Lim, from phases of zero. Good for: short sounds, where what is heard matters more than how natural it is;
    its words were recognised more often than WaveGAN's (section 6), and sounded worse.
    """

    paper = "Donahue, McAuley, Puckette 2019, arXiv:1802.04208"

    modality: ClassVar[Modality] = "waveform"
    reads_summary: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({FIELD})

    @property
    def distribution(self) -> Literal["normal", "uniform"]:
        return "uniform"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._plan(spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        plan, config = self._plan(spec), self.config
        generator = SpecGenerator(plan, config.latent, self._scale(spec), self._analysis(spec))
        return {"generator": generator, "discriminator": SpecCritic(plan, self._scale(spec))}

    def real(self, turn: Turn) -> Tensor:
        return cast(SpecCritic, turn.networks["discriminator"]).scale.seen(
            _translation.field_of(turn.batch, FIELD, self.name)
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        seen = super().sample(networks, latents, condition, truncation)
        return cast(SpecGenerator, networks["generator"]).sound(seen, self.config.iterations)

    def _field(self, spec: DataSpec) -> FieldSpec:
        field = spec.field(FIELD)
        if field is None or field.kind != "spectrogram" or field.of != "x":
            raise SettingsError(
                f"families.{self.name}: it learns from the spectrograms of x; set ingest.derive: "
                "{spectrogram: {name: spectrogram}}"
            )
        return field

    def _plan(self, spec: DataSpec) -> SpecPlan:
        config = self.config
        channels, frequencies, frames = self._field(spec).shape
        most = min(quadruplings(side, config.stride, 1) for side in (frames, frequencies))
        found = min(quadruplings(side, config.stride, config.smallest) for side in (frames, frequencies))
        levels = found if config.levels is None else config.levels
        if levels == 0 or levels > most:
            raise SettingsError(
                f"families.{self.name}{'' if config.levels is None else '.levels'}: the spectrogram has {frequencies} "
                f"frequencies × {frames} frames, and both must be base·{config.stride}^{max(levels, 1)}; frequencies "
                "are half of ingest.derive.spectrogram.window, frames ingest.source.length over its hop"
            )
        base = frames // config.stride**levels, frequencies // config.stride**levels
        return SpecPlan(base, levels, channels, config.width, config.kernel, config.stride)

    def _scale(self, spec: DataSpec) -> Scale:
        channels, frequencies, _ = self._field(spec).shape
        count = channels * frequencies
        known = spec.summary.fields.get(FIELD) if spec.summary else None
        mean, std = (known.mean, known.std) if known else ((0.0,), (1.0,))
        whole = [each * count if len(each) == 1 else each for each in (mean, std)]
        return Scale(whole[0], whole[1], (channels, frequencies), self.config.clip)

    def _analysis(self, spec: DataSpec) -> Analysis:
        made: dict[str, Any] = json.loads(self._field(spec).transform)
        before = made["window"] // 2 if made["padding"] == "centre" else 0
        return Analysis(made["hop"], made["nyquist"], made["floor"], before, spec.resolution[0])
