"""StyleGAN2 and StyleGAN2-ADA: styles in the weights, lazy R1 and path length, adaptive augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Networks, Optimiser, Phase, State, Turn
from pipeline.families import _choices, _geometry, _styles
from pipeline.families._adversarial import LatentFamily
from pipeline.families._choices import PenaltyChoices
from pipeline.families._settings import LatentSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.stylegan2 import (
    MappingNetwork,
    StyleDiscriminator,
    StyleDiscriminatorPlan,
    StylePlan,
    StyleSynthesis,
)
from pipeline.networks.blocks.mapping import StyleGenerator
from pipeline.networks.layers.minibatch import MinibatchName
from pipeline.penalties._path_length import path_lengths, towards_mean
from pipeline.types import Batch, DataSpec

PATH_MEAN = "path_length_mean"


ADAM = Optimiser(lr=2e-3, beta1=0.0, beta2=0.99)
"""Before the correction for lazy phases."""


class Config(LatentSettings):
    """Karras et al. 2020, config F; the data's H×W must be base·2^k.

    Conditional: labels are embedded into G's mapping and, mapped by themselves, projected on D's features.
    """

    usual_every: ClassVar[int] = 16

    latent: int = Field(default=512, ge=1, description="numbers of z")
    style: int = Field(default=512, ge=1, description="numbers of w")
    mapping_layers: int = Field(default=8, ge=1, description="of G; D's, where conditional, always has 8")
    mapping_rate: float = Field(default=0.01, gt=0, description="the mapping's learning rate over the others'")
    levels: int | None = Field(default=None, ge=1, le=10, description="doublings k; none: as many as leave `smallest`")
    smallest: int = Field(default=4, ge=1, description="shortest side of the smallest map, where levels is none")
    width: int = Field(default=32768, ge=1, description="maps times pixels of a side; `channel_base`")
    max_width: int = Field(default=512, ge=1, description="no layer has more maps; `channel_max`")
    architecture: Literal["resnet", "orig"] = Field(default="resnet", description="of D; orig: no shortcuts")
    clamp: float | None = Field(default=256.0, gt=0, description="activations are cut here; none: never")
    minibatch: MinibatchName = Field(default="deviation", description="what D sees of the rest of its batch")
    group: int = Field(default=4, ge=1, description="deviation: examples a group, within a lane")
    mixing: float = Field(default=0.9, ge=0, le=1, description="probability of two styles in one image")
    penalties: PenaltyChoices = Field(
        default=({"name": "r1", "gamma": 10.0},), description="of pipeline/penalties; `every` 16 where it does not say"
    )
    path_weight: float = Field(default=2.0, ge=0, description="of the path length penalty on G; 0: no such phase")
    path_every: int = Field(default=4, ge=1, description="steps between its phases, their gradient times this")
    path_decay: float = Field(default=0.01, gt=0, le=1, description="how far the mean length moves each time")
    path_share: float = Field(default=0.5, gt=0, le=1, description="of a lane's noise that this phase uses")
    sample_noise: _styles.SampleNoise = Field(
        default="const", description="in samples: the kept maps, drawn by a key made of the latents, or none"
    )
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _bounded(self) -> Config:
        _choices.check_bounded(self.loss, self.penalties)
        return self


def _recipe(gamma: float, lr: float, group: int, **keys: Any) -> dict[str, Any]:
    return {"penalties": {"r1": {"gamma": gamma}}, "group": group, **both(lr=lr), **keys}


def _auto(side: int) -> dict[str, Any]:
    """StyleGAN2-ADA's `auto` for 8 GPUs: batch 64, γ = 0.0002·side²/64, half the maps, two mapping layers."""
    gamma = 0.0002 * side**2 / 64
    return _recipe(gamma, 2.5e-3, 4, width=16384, mapping_layers=2, augment={"name": "ada"})


_CIFAR = _recipe(
    0.01, 2.5e-3, 32, mapping_layers=2, architecture="orig", mixing=0.0, path_weight=0.0, augment={"name": "ada"}
)

PRESETS: dict[str, dict[str, Any]] = {
    "config_f1024": {},
    "config_f512": {},
    "config_f256": {},
    "paper256": _recipe(1.0, 2.5e-3, 8, width=16384),
    "cifar10": _CIFAR,
    "cifar10_cond": {**_CIFAR, "conditional": True},
    "auto64": _auto(64),
    "auto128": _auto(128),
    "auto256": _auto(256),
    "zoo": _recipe(
        0.1,
        2.5e-3,
        8,
        conditional=True,
        latent=64,
        style=64,
        mapping_layers=2,
        width=512,
        max_width=64,
        clamp=None,
        mixing=0.0,
        path_weight=0.0,
    ),
    "smoke": _recipe(0.1, 2.5e-3, 4, latent=32, style=32, mapping_layers=2, width=256, max_width=16, clamp=None),
}

CANON: dict[str, Canon] = {
    "config_f1024": Canon("StyleGAN2 config-f 1024 px", (3, 1024, 1024), counts=(30_370_060, 29_012_513)),
    "config_f512": Canon("StyleGAN2 config-f 512 px", (3, 512, 512), counts=(30_276_583, 28_982_849)),
    "config_f256": Canon("StyleGAN2 config-f 256 px", (3, 256, 256), counts=(30_034_338, 28_864_129)),
    "paper256": Canon("StyleGAN2 paper256 (config-e width)", (3, 256, 256), counts=(24_767_458, 24_001_089)),
    "cifar10": Canon("StyleGAN2-ADA CIFAR-10", (3, 32, 32), counts=(19_947_539, 20_720_641)),
    "cifar10_cond": Canon("StyleGAN2-ADA CIFAR-10, 10 classes", (3, 32, 32), 10, counts=(20_215_315, 23_089_664)),
    "auto64": Canon("StyleGAN2-ADA auto 64 px", (3, 64, 64), counts=(22_243_608, 23_407_361)),
    "auto128": Canon("StyleGAN2-ADA auto 128 px", (3, 128, 128), counts=(22_949_277, 23_882_369)),
    "auto256": Canon("StyleGAN2-ADA auto 256 px", (3, 256, 256), counts=(23_191_522, 24_001_089)),
}


class Family(LatentFamily[Config]):
    """“Analyzing and improving the image quality of StyleGAN”, Karras et al. 2020; ADA, Karras et al. 2020b.

    w′ᵢⱼₖ = sᵢ·wᵢⱼₖ / √(Σ (sᵢ·wᵢⱼₖ)² + ε) (equations 1 and 3). Loss: non-saturating; every 16 steps
    γ/2·E‖∇D(x)‖², every 4 steps 2·E[(‖Jᵀy‖ − a)²], both times their interval. Good for aligned images of one
    kind; with ADA for a few thousand of them.

    Batch and average are `train`'s: published are batch 32 and a half-life of 10,000 examples (config F),
    64 and 20,000 (paper256, auto with a ramp of 0.05), 64 and 500,000 with that ramp (CIFAR-10). The
    mean of w is averaged with the weights that it belongs to. Where a gradient is not finite the reference
    cuts it; here the run goes back to a checkpoint.
    """

    paper = "Karras, Laine, Aittala, Hellsten, Lehtinen, Aila 2020, arXiv:1912.04958; ADA arXiv:2006.06676"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        _geometry.find_base(self.name, spec.resolution, self.config.levels, self.config.smallest)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        (height, width), levels = _geometry.find_base(self.name, spec.resolution, config.levels, config.smallest)
        plan = StylePlan((height, width), levels, spec.channels, config.width, config.max_width, config.clamp)
        classes = self.count_classes(spec)
        synthesis = StyleSynthesis(plan, config.style)
        mapping = MappingNetwork(config.latent, classes, config.style, config.mapping_layers, config.mapping_rate)
        discriminator = StyleDiscriminatorPlan(plan, classes, config.architecture, config.minibatch, config.group)
        return {
            "generator": StyleGenerator(synthesis, mapping, synthesis.layers, config.style),
            "discriminator": StyleDiscriminator(discriminator),
        }

    @property
    def first(self) -> Literal["discriminator", "generator"]:
        return "generator"

    def further_phases(self) -> tuple[Phase, ...]:
        """The path length, with noise of its own."""
        every = self.config.path_every
        path = Phase("path_length", "generator", self._path_length, "same", every=every, gain=every)
        return (path,) if self.config.path_weight else ()

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Truncation ψ draws w of every layer towards its mean; what leaves [−1, 1] is cut."""
        label, z = self.label_of(condition), latents["z"]
        noise = _styles.sampling_noise(self.config.sample_noise, z)
        return _styles.generator_of(networks)(z, label, truncation, noise).clamp(-1, 1)

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        """The mean path length, and ADA's p."""
        mean = {PATH_MEAN: torch.zeros(())} if self.config.path_weight else {}
        return {**mean, **super().state(spec)}

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        """Move the mean path length by the whole batch's lengths; ADA's p."""
        length = observed.get("path_length/length")
        if length is not None:
            mean = state.tensors[PATH_MEAN]
            mean.lerp_(mean.new_tensor(length), self.config.path_decay)
        super().after_step(networks, state, observed)

    def procedures(self) -> dict[str, Callable[..., Any]]:
        """Mapping, style mixing by layer range, truncation sweep, projection of real images."""
        return _styles.procedures()

    def generate(self, turn: Turn) -> Tensor:
        ws = _styles.training_styles(turn, self.label(turn), self.config.mixing)
        return _styles.generator_of(turn.networks).synthesis(ws, turn.generator("noise"))

    def _path_length(self, turn: Turn) -> dict[str, Tensor]:
        """weight·E[(‖Jᵀy‖ − a)²] on a share of the lane; a, the running mean, includes this lane's lengths."""
        config = self.config
        count = max(1, int(turn.latents["z"].shape[0] * config.path_share))
        ws = _styles.training_styles(turn, self.label(turn), config.mixing)[:count]
        images = _styles.generator_of(turn.networks).synthesis(ws, turn.generator("noise"))
        lengths = path_lengths(images, ws, turn.generator("direction"))
        penalty, _ = towards_mean(lengths, turn.state.tensors[PATH_MEAN], config.path_decay)
        return {"total": config.path_weight * penalty, "penalty": penalty, "length": lengths.mean()}
