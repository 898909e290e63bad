"""VGAN: short videos from noise, a moving foreground before a background that stands still."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Turn
from pipeline.families import _choices, _geometry
from pipeline.families._adversarial import LatentFamily, Passes, Terms
from pipeline.families._choices import LossChoice
from pipeline.families._settings import StackSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.vgan import TwoStreamGenerator
from pipeline.networks.blocks.strided_stacks import DownwardStack, StackPlan
from pipeline.networks.layers import init
from pipeline.networks.layers.norm import NormName
from pipeline.types import DataSpec, Modality

TORCH7_EPS = 1e-3
GAIN_STD = 0.02
MASK = "mask"


class Config(StackSettings):
    """Vondrick et al. 2016; the video's T×H×W must be base·2^levels, such as 32×64×64 = 2×4×4·2^4."""

    smallest: int = Field(default=2, ge=1, description="shortest side of the smallest map, where levels is none")
    max_width: int = Field(default=512, ge=1, description="no layer has more maps")
    discriminator_norm: NormName = Field(default="batch", description="behind all convolutions but the first")
    mask_penalty: float = Field(
        default=0.1, ge=0, description="times the mean of the mask: the background does the rest"
    )
    init_std: float = Field(default=0.01, gt=0, description="weights N(0, init_std), gains of batch norm N(1, 0.02)")
    loss: LossChoice = Field(default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses")
    share_fakes: bool = Field(default=True, description="the generator answers for the fakes that D has just seen")

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.augment and self.augment["name"] != "instance_noise":
            raise ValueError(f"augment: {self.augment['name']} changes images, and this is video; take instance_noise")
        batch_norm = self.discriminator_norm == "batch"
        _choices.check_penalties(self.penalties, batch_norm, "set discriminator_norm to layer or none, or take r1")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "clips64": {},
    "clips32": {"levels": 3},
    "zoo": {"conditional": True, "latent": 32, "generator_width": 16, "discriminator_width": 16, **both(lr=5e-4)},
    "smoke": {"latent": 8, "generator_width": 4, "discriminator_width": 4, "init_std": 0.1, **both(lr=1e-3)},
}

CANON: dict[str, Canon] = {
    "clips64": Canon("VGAN two-stream 32×64×64", (3, 32, 64, 64), modality="video", counts=(16_245_383, 11_057_858)),
}


class Family(LatentFamily[Config]):
    """“Generating videos with scene dynamics”, Vondrick, Pirsiavash, Torralba 2016.

    G(z) = m · f + (1 − m) · b: the background b is one picture, the foreground f and the mask m are videos. The
    discriminator has two logits, real and fake, and the cross entropy of their softmax: that of σ(real − fake).
    D: (CE(real) + CE(fake)) / 2, G: CE(fake as real) + 0.1 · mean m. Both players see the same fakes. The authors' code
    takes D's activations for G from before D's step and its weights from after it; here both are from after it.
    Good for: clips of a second or two whose camera stands still, at 16 to 32 frames of 32 to 64 pixels.
    """

    paper = "Vondrick, Pirsiavash, Torralba 2016, arXiv:1609.02612"

    modality: ClassVar[Modality] = "video"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._base(spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, classes = self.config, self.count_classes(spec)
        base, levels = self._base(spec)
        upward = StackPlan(base, self._widths(config.generator_width, levels), spec.channels, "batch", True, classes)
        downward = replace(
            upward,
            widths=self._widths(config.discriminator_width, levels),
            norm=config.discriminator_norm,
            norm_eps=TORCH7_EPS,
            logits=2,
        )
        networks: dict[str, nn.Module] = {
            "generator": TwoStreamGenerator(upward, config.latent),
            "discriminator": DownwardStack(downward),
        }
        init.normal(config.init_std, *networks.values(), gain_std=GAIN_STD)
        return networks

    def generate(self, turn: Turn) -> Tensor:
        network = turn.networks["generator"]
        assert isinstance(network, TwoStreamGenerator)
        made, turn.memory[MASK] = network.parts(turn.latents["z"], self.label(turn))
        return made

    def logits(self, outputs: Tensor) -> Tensor:
        """The logit of real less that of fake (n,), of D's two."""
        return outputs[:, 0] - outputs[:, 1]

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        """The mask's L1 norm, averaged: a mask is never negative."""
        return {MASK: (self.config.mask_penalty, turn.memory[MASK].mean())}

    def _base(self, spec: DataSpec) -> tuple[tuple[int, ...], int]:
        return _geometry.find_base(self.name, spec.resolution, self.config.levels, self.config.smallest)

    def _widths(self, last: int, count: int) -> tuple[int, ...]:
        return tuple(min(last * 2**above, self.config.max_width) for above in reversed(range(count)))
