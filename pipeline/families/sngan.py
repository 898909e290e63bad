"""SN-GAN: residual networks with a discriminator of spectrally normalised layers; SAGAN with it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from pipeline.contract import Optimiser, Ramp
from pipeline.families._choices import Width
from pipeline.families._shared import Canon, both
from pipeline.families._spectral import SpectralConfig, SpectralFamily
from pipeline.networks.architectures.sngan import DiscriminatorPlan, SpectralDiscriminator, SpectralGenerator
from pipeline.networks.blocks.residual import Recipe, ResidualPlan
from pipeline.networks.layers import init
from pipeline.networks.layers.conv import Layers
from pipeline.networks.layers.spectral_norm import SpectralLayers
from pipeline.types import DataSpec

ADAM = Optimiser(lr=Ramp(start=2e-4, end=0.0, examples=16_000_000), beta1=0.0, beta2=0.9)
"""2e-4 → 0 over 50,000 steps of five batches of 64."""


class Config(SpectralConfig):
    """Miyato et al. 2018 for CIFAR-10, as the authors' code has it.

    H×W must be base·2^(generator widths − 1) and divisible by 2^halvings.
    """

    generator_widths: tuple[Width, ...] = Field(
        default=(256, 256, 256, 256), min_length=2, description="maps from the smallest resolution up"
    )
    discriminator_widths: tuple[Width, ...] = Field(
        default=(128, 128, 128, 128), min_length=1, description="maps of each block"
    )
    halvings: int = Field(default=2, ge=1, description="how many of D's blocks, from the first, halve the resolution")
    generator_batches: int = Field(
        default=2, ge=1, description="samples of G's turn, in batches; 1 for losses that compare with reals"
    )
    discriminator_steps: int = Field(default=5, ge=1, description="turns of D a step, each on a fresh batch")
    first: Literal["generator", "discriminator"] = Field(default="generator", description="who moves first in a step")
    upsampling: Literal["nearest", "bilinear"] = "nearest"
    class_norm: Literal["table", "linear"] = Field(
        default="table", description="gains per class, or 1 + a linear map of one-hot labels (StudioGAN)"
    )
    spectral_generator: bool = Field(default=False, description="spectral norm in G as well (SAGAN)")
    generator_attention: tuple[Width, ...] = Field(default=(), description="blocks, from 1, followed by attention")
    discriminator_attention: tuple[Width, ...] = Field(default=(), description="likewise in D")
    head_bias: bool = Field(default=False, description="whether D's last layer has one")
    rectified_shortcut: bool = Field(
        default=False, description="D's shortcuts see relu(x), as an in-place relu makes them in two libraries"
    )
    wide: bool = Field(default=False, description="hidden width of D's blocks: the outputs' (SAGAN), not the inputs'")
    norm_eps: float = Field(default=2e-5, gt=0, description="of batch norm")
    spectral_eps: float = Field(default=1e-12, gt=0, description="of the power iteration")
    init: Literal["glorot", "orthogonal"] = "glorot"
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _blocks(self) -> Config:
        if self.halvings > len(self.discriminator_widths):
            blocks = len(self.discriminator_widths)
            raise ValueError(f"halvings: {self.halvings} is not allowed; discriminator_widths lists {blocks} blocks")
        counts = {"generator": len(self.generator_widths) - 1, "discriminator": len(self.discriminator_widths)}
        for name, count in counts.items():
            attended: tuple[int, ...] = getattr(self, f"{name}_attention")
            if any(number > count for number in attended):
                raise ValueError(f"{name}_attention: {max(attended)} is not allowed; there are {count} blocks")
        return self


def _adam(lr: float, examples: int | None, beta1: float, beta2: float, eps: float = 1e-8) -> dict[str, Any]:
    ramp = {"start": lr, "end": 0.0, "examples": examples}
    return both(lr=ramp if examples else lr, beta1=beta1, beta2=beta2, eps=eps)


def _mimicry(upward: list[int], downward: list[int], halvings: int, **keys: Any) -> dict[str, Any]:
    """mimicry's networks and its trainer: D first, as many samples as reals, 100,000 steps."""
    return {
        "generator_widths": upward,
        "discriminator_widths": downward,
        "halvings": halvings,
        "generator_batches": 1,
        "first": "discriminator",
        "upsampling": "bilinear",
        "head_bias": True,
        "rectified_shortcut": True,
        "norm_eps": 1e-5,
        **_adam(2e-4, 32_000_000, 0.0, 0.9),
        **keys,
    }


_SMALL: dict[str, Any] = {
    "conditional": True,
    "latent": 64,
    "head_bias": True,
    "generator_batches": 1,
    "discriminator_steps": 1,
    "first": "discriminator",
    "generator": {"lr": 5e-4, "beta1": 0.0, "beta2": 0.9},
    "discriminator": {"lr": 1e-3, "beta1": 0.0, "beta2": 0.9},
}

PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar10_projection": {"conditional": True},
    "mimicry32": _mimicry([256] * 4, [128] * 4, 2),
    "mimicry48": _mimicry([512, 256, 128, 64], [64, 128, 256, 512, 1024], 4),
    "mimicry64": _mimicry([1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024], 5),
    # CelebA's trainer; ImageNet's has 5 D steps.
    "mimicry128": _mimicry(
        [1024, 1024, 512, 256, 128, 64],
        [64, 128, 256, 512, 1024, 1024],
        5,
        discriminator_steps=2,
        **_adam(2e-4, None, 0.0, 0.9),
    ),
    # The authors hold 2e-4 for 400,000 of 450,000 steps; a ramp here begins at once, so it stays.
    "imagenet128": {
        "conditional": True,
        "generator_widths": [1024, 1024, 512, 256, 128, 64],
        "discriminator_widths": [64, 128, 256, 512, 1024, 1024],
        "halvings": 5,
        "head_bias": True,
        **_adam(2e-4, None, 0.0, 0.9),
    },
    "sagan_cifar10": {
        "conditional": True,
        "generator_batches": 1,
        "first": "discriminator",
        "class_norm": "linear",
        "spectral_generator": True,
        "generator_attention": [2],
        "discriminator_attention": [1],
        "head_bias": True,
        "rectified_shortcut": True,
        "wide": True,
        "norm_eps": 1e-4,
        "spectral_eps": 1e-6,
        "init": "orthogonal",
        **_adam(2e-4, None, 0.5, 0.999, 1e-6),
    },
    "zoo": {**_SMALL, "generator_widths": [96, 48, 24, 16], "discriminator_widths": [16, 32, 64, 64], "halvings": 3},
    "smoke": {**_SMALL, "generator_widths": [32, 16, 16], "discriminator_widths": [16, 32], "latent": 32},
}

CANON: dict[str, Canon] = {
    "cifar10": Canon("SN-GAN CIFAR uncond", (3, 32, 32), counts=(4_276_739, 1_053_824)),
    "cifar10_projection": Canon("SN-GAN CIFAR cond (cBN + projection)", (3, 32, 32), 10, counts=(4_304_387, 1_055_104)),
    "mimicry32": Canon("mimicry SNGAN32", (3, 32, 32), counts=(4_276_739, 1_053_825)),
    "mimicry48": Canon("mimicry SNGAN48", (3, 48, 48), counts=(4_878_083, 10_141_441)),
    "mimicry64": Canon("mimicry SNGAN64", (3, 64, 64), counts=(12_220_675, 10_141_441)),
    "mimicry128": Canon("mimicry SNGAN128", (3, 128, 128), counts=(32_150_787, 29_017_857)),
    "imagenet128": Canon("SN-GAN ImageNet-128 projection", (3, 128, 128), 1000, counts=(41_996_931, 30_041_857)),
    "sagan_cifar10": Canon("SAGAN CIFAR (StudioGAN)", (3, 32, 32), 10, counts=(4_386_308, 1_075_586)),
}


class Family(SpectralFamily[Config]):
    """“Spectral normalization for generative adversarial networks”, Miyato et al. 2018.

    Every layer of D is W/σ(W), so that D is 1-Lipschitz but for its sums; with the hinge loss
    (equations 16 and 17)

        D: E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))]        G: −E[D(G(z))]

    Labels enter by batch norm per class and by projection (Miyato & Koyama 2018). Good for: a sound
    baseline that holds without a penalty and with few examples a step. Unlike the authors' code, G's
    labels are drawn per turn and fakes in D's turn have their reals' labels.
    """

    paper = "Miyato, Kataoka, Koyama, Yoshida 2018, arXiv:1802.05957; Miyato, Koyama 2018, arXiv:1802.05637"

    @property
    def first(self) -> Literal["discriminator", "generator"]:
        return self.config.first

    def check(self, spec: DataSpec) -> None:
        config = self.config
        self.check_networks(spec, len(config.generator_widths) - 1, config.halvings, config.discriminator_attention)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        classes = self.count_classes(spec)
        doublings = len(config.generator_widths) - 1
        height, width = (axis // 2**doublings for axis in spec.resolution)
        spectral = SpectralLayers(config.spectral_eps)
        upward = Recipe(spectral if config.spectral_generator else Layers(), config.upsampling)
        plan = ResidualPlan(
            upward, (height, width), config.generator_widths, spec.channels, config.latent, config.generator_attention
        )
        downward = Recipe(spectral, wide=config.wide, rectified_shortcut=config.rectified_shortcut)
        discriminator = DiscriminatorPlan(
            recipe=downward,
            widths=config.discriminator_widths,
            halvings=config.halvings,
            channels=spec.channels,
            classes=classes,
            attention=config.discriminator_attention,
            head_bias=config.head_bias,
        )
        networks: dict[str, nn.Module] = {
            "generator": SpectralGenerator(plan, classes, config.class_norm, config.norm_eps),
            "discriminator": SpectralDiscriminator(discriminator),
        }
        (init.glorot if config.init == "glorot" else init.orthogonal)(*networks.values())
        return networks
