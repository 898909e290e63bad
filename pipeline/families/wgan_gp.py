"""WGAN-GP: a Wasserstein critic held by a gradient penalty, on residual or plain networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Optimiser, Ramp, Turn
from pipeline.families import _choices, _geometry
from pipeline.families._adversarial import LatentFamily, Passes, Terms
from pipeline.families._choices import LossChoice, PenaltyChoices, Width
from pipeline.families._settings import LatentSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.wgan_gp import (
    BoundedGenerator,
    ClassifyingCritic,
    CriticPlan,
    ResidualCritic,
    StridedCritic,
    StridedGenerator,
    StridedPlan,
    residual_generator,
)
from pipeline.networks.blocks.residual import Recipe, ResidualGenerator, ResidualPlan
from pipeline.networks.layers import init
from pipeline.networks.layers.conv import HeLayers
from pipeline.networks.layers.resample import Upsampling
from pipeline.types import DataSpec

ADAM = Optimiser(lr=Ramp(start=2e-4, end=0.0, examples=32_000_000), beta1=0.0, beta2=0.9)
"""2e-4 → 0 over 100,000 steps of five batches of 64."""


class Config(LatentSettings):
    """Gulrajani et al. 2017; the defaults are the residual networks for CIFAR-10.

    residual: one doubling between the generator's widths; the critic halves once a width
        (`discriminator_opening: conv` does not halve). H×W must be divisible by all of it.
    strided: one doubling after each of the generator's widths, the critic mirrors them where
        `discriminator_widths` is its reverse; any H×W, odd sizes are rounded up and cut.
    """

    conditional: bool = Field(default=False, description="batch norm per class in G, a second head in the critic")
    architecture: Literal["residual", "strided"] = "residual"
    latent: int = Field(default=128, ge=1, description="numbers of noise")
    generator_widths: tuple[Width, ...] = Field(default=(128, 128, 128, 128), min_length=1)
    discriminator_widths: tuple[Width, ...] = Field(default=(128, 128), min_length=1)
    discriminator_plain: int = Field(default=2, ge=0, description="residual: blocks that keep the resolution")
    discriminator_opening: Literal["block", "conv"] = Field(
        default="block", description="residual: the critic's first layer"
    )
    discriminator_head: Literal["mean", "flat"] = Field(
        default="mean", description="residual: what the last layer reads"
    )
    block_bias: bool = Field(default=True, description="residual: whether a block's first convolution has one")
    upsampling: Upsampling = Field(default="nearest", description="residual: how G doubles")
    rectified_shortcut: bool = Field(
        default=False,
        description="residual: the critic's shortcuts see relu(x), as an in-place relu in mimicry makes them",
    )
    generator_norm: Literal["batch", "none"] = "batch"
    first_norm: Literal["unit", "channel"] = Field(default="channel", description="strided: of the dense layer")
    discriminator_norm: Literal["none", "layer"] = Field(
        default="none", description="never batch: the penalty is per example"
    )
    output: Literal["tanh", "sigmoid"] = Field(default="tanh", description="sigmoid: the networks work in [0, 1]")
    init_std: float | None = Field(default=None, gt=0, description="N(0, std); none: uniform of He's variance")
    discriminator_steps: int = Field(default=5, ge=1, description="turns of the critic a step, each on a fresh batch")
    loss: LossChoice = Field(default={"name": "wasserstein"}, description="a file of pipeline/losses")
    penalties: PenaltyChoices = Field(default=({"name": "gradient_penalty"},), description="of pipeline/penalties")
    class_weight: float = Field(default=1.0, ge=0, description="of the critic's cross-entropy on reals")
    generator_class_weight: float = Field(default=0.1, ge=0, description="of the generator's on its fakes")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @classmethod
    def modern(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        found = super().modern(stored)
        return {**found, "generator_norm": "batch"} if found.get("generator_norm") == "fused" else found

    @model_validator(mode="after")
    def _bounded(self) -> Config:
        _choices.check_bounded(self.loss, self.penalties)
        return self


_STEADY = both(lr=1e-4, beta1=0.5, beta2=0.9)
_HALVED: dict[str, Any] = {"start": 2e-4, "end": 0.0, "examples": 32_000_000}


def _small(latent: int, widths: list[int], steps: int, **keys: Any) -> dict[str, Any]:
    """The strided pair, mirrored."""
    shape = {"architecture": "strided", "generator_widths": widths, "discriminator_widths": widths[::-1]}
    return {"latent": latent, **shape, "discriminator_steps": steps, **both(lr=5e-4, beta1=0.0, beta2=0.9), **keys}


PRESETS: dict[str, dict[str, Any]] = {
    "cifar10_residual": {},
    "cifar10_acgan": {"conditional": True},
    "cifar10_strided": {
        "architecture": "strided",
        "generator_widths": [512, 256, 128],
        "discriminator_widths": [128, 256, 512],
        "first_norm": "unit",
        **_STEADY,
    },
    "mnist_strided": {
        "architecture": "strided",
        "generator_widths": [256, 128, 64],
        "discriminator_widths": [64, 128, 256],
        "generator_norm": "none",
        "output": "sigmoid",
        **_STEADY,
    },
    "images64_residual": {
        "generator_widths": [512, 512, 256, 128, 64],
        "discriminator_widths": [64, 128, 256, 512, 512],
        "discriminator_plain": 0,
        "discriminator_opening": "conv",
        "discriminator_head": "flat",
        "discriminator_norm": "layer",
        "block_bias": False,
        **both(lr=1e-4, beta1=0.0, beta2=0.9),
    },
    "images64_strided": {
        "architecture": "strided",
        "generator_widths": [512, 256, 128, 64],
        "discriminator_widths": [64, 128, 256, 512],
        "discriminator_norm": "layer",
        "init_std": 0.02,
        **_STEADY,
    },
    # mimicry's trainer plays 100,000 steps of five batches of 64 and has as many samples as reals.
    "mimicry32": {
        "generator_widths": [256, 256, 256, 256],
        "upsampling": "bilinear",
        "rectified_shortcut": True,
        **both(lr=_HALVED, beta1=0.0, beta2=0.9),
    },
    "small": _small(64, [64, 32], 3),
    "zoo": _small(64, [64, 32, 16], 3, conditional=True),
    "smoke": _small(32, [32, 16], 2, conditional=True),
}

# Idle: TensorFlow's fused batch norm, which normalises by the batch alone, hands its moving mean and variance to the
# optimiser. No gradient ever reaches them.
CANON: dict[str, Canon] = {
    "cifar10_residual": Canon(
        "WGAN-GP CIFAR ResNet uncond", (3, 32, 32), counts=(1_206_275, 1_053_825), idle=(1_792, 0)
    ),
    "cifar10_acgan": Canon("WGAN-GP CIFAR ResNet ACGAN", (3, 32, 32), 10, counts=(1_218_563, 1_055_115), idle=(256, 0)),
    "cifar10_strided": Canon(
        "WGAN-GP CIFAR DCGAN-style DIM128", (3, 32, 32), counts=(5_180_675, 4_114_689), idle=(768, 0)
    ),
    "mnist_strided": Canon("WGAN-GP MNIST", (1, 28, 28), counts=(1_554_177, 1_030_145)),
    "images64_residual": Canon(
        "WGAN-GP 64 px “Good” ResNet", (3, 64, 64), counts=(8_545_347, 7_491_841), idle=(4_864, 0)
    ),
    "images64_strided": Canon("WGAN-GP 64 px DCGAN", (3, 64, 64), counts=(5_366_659, 4_316_545), idle=(1_920, 0)),
    "mimicry32": Canon("WGAN-GP 32 px (mimicry variant)", (3, 32, 32), counts=(4_276_739, 1_053_825)),
}


class Family(LatentFamily[Config]):
    """“Improved training of Wasserstein GANs”, Gulrajani et al. 2017.

    The critic minimises E[D(G(z))] − E[D(x)] + λ E[(‖∇D(x̂)‖₂ − 1)²] (equation 3), G −E[D(G(z))]. Good for:
    hard data and odd shapes, at five critic steps with a double backward for each of G's.

    One batch size serves both players: the reference's residual generator takes twice the critic's.
    """

    paper = "Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville 2017, arXiv:1704.00028"

    def modern_state(self, network: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Batch norms had two idle parameters, and the residual generator's parts other names."""
        kept = {key: value for key, value in state.items() if not key.endswith((".moving_mean", ".moving_variance"))}
        if network != "generator" or self.config.architecture != "residual":
            return kept
        older = (("stack.first.", "stack.linear."), ("stack.blocks.", "stack.layers."))
        return {key.replace(*older[0]).replace(*older[1]): value for key, value in kept.items()}

    @property
    def _critic_halvings(self) -> int:
        return len(self.config.discriminator_widths) - (self.config.discriminator_opening == "conv")

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        config = self.config
        if config.architecture == "residual":
            _geometry.check_doublings(self.name, "generator_widths", spec.resolution, len(config.generator_widths) - 1)
            _geometry.check_doublings(self.name, "discriminator_widths", spec.resolution, self._critic_halvings)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        classes = self.count_classes(spec)
        sigmoid = self.config.output == "sigmoid"
        make = self._residual if self.config.architecture == "residual" else self._strided
        generator, critic = make(spec, classes)
        networks: dict[str, nn.Module] = {
            "generator": BoundedGenerator(generator, sigmoid),
            "discriminator": ClassifyingCritic(critic, classes, sigmoid),
        }
        if self.config.init_std is not None:
            init.normal(self.config.init_std, *networks.values())
        return networks

    def _residual(self, spec: DataSpec, classes: int) -> tuple[ResidualGenerator, ResidualCritic]:
        config = self.config
        height, width = spec.resolution
        doublings = len(config.generator_widths) - 1
        base = (height // 2**doublings, width // 2**doublings)
        layers = HeLayers()
        upward = Recipe(layers, config.upsampling, config.block_bias)
        plan = ResidualPlan(upward, base, config.generator_widths, spec.channels, config.latent)
        downward = Recipe(
            layers, bias=config.block_bias, rectified_shortcut=config.rectified_shortcut, means_first=True
        )
        critic = CriticPlan(
            recipe=downward,
            base=(height // 2**self._critic_halvings, width // 2**self._critic_halvings),
            widths=config.discriminator_widths,
            channels=spec.channels,
            plain=config.discriminator_plain,
            opening=config.discriminator_opening,
            head=config.discriminator_head,
            norm=config.discriminator_norm,
        )
        return residual_generator(plan, config.generator_norm, classes), ResidualCritic(critic)

    def _strided(self, spec: DataSpec, classes: int) -> tuple[StridedGenerator, StridedCritic]:
        config = self.config
        height, width = spec.resolution
        generator = StridedPlan(
            (height, width), config.generator_widths, spec.channels, config.generator_norm, config.first_norm, classes
        )
        critic = StridedPlan(
            (height, width), config.discriminator_widths[::-1], spec.channels, config.discriminator_norm
        )
        return StridedGenerator(generator, config.latent), StridedCritic(critic)

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> tuple[Tensor, Tensor | None]:
        return turn.networks["discriminator"](self.augmented(turn, x, purpose))

    def logits(self, outputs: tuple[Tensor, Tensor | None]) -> Tensor:
        return outputs[0]

    def discriminator_terms(self, turn: Turn, seen: Passes) -> Terms:
        return self._class_terms(turn, seen.on_real[1], self.config.class_weight)

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        return self._class_terms(turn, seen.on_fake[1], self.config.generator_class_weight)

    def _class_terms(self, turn: Turn, logits: Tensor | None, weight: float) -> Terms:
        label = self.label(turn)
        if logits is None or label is None:
            return {}
        right = (logits.argmax(1) == label).float().mean()
        return {"class": (weight, F.cross_entropy(logits, label)), "class_accuracy": (0.0, right)}
