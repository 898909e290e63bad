"""BigGAN and BigGAN-deep: wide class-conditional residual networks with attention, noise at every block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Networks, Optimiser
from pipeline.families._choices import Width
from pipeline.families._shared import Canon, both
from pipeline.families._spectral import SpectralConfig, SpectralFamily
from pipeline.networks.architectures.biggan import BigganGenerator, BigganPlan, deep_blocks
from pipeline.networks.architectures.sngan import DiscriminatorPlan, SpectralDiscriminator
from pipeline.networks.blocks.residual import Recipe, ResidualPlan
from pipeline.networks.layers import init
from pipeline.networks.layers.noise import truncated_normal
from pipeline.networks.layers.spectral_norm import SpectralLayers
from pipeline.types import Batch, DataSpec

ADAM = {
    "generator": Optimiser(lr=1e-4, beta1=0.0, beta2=0.999, eps=1e-6),
    "discriminator": Optimiser(lr=4e-4, beta1=0.0, beta2=0.999, eps=1e-6),
}
"""The author's PyTorch script; the paper has 5e-5 and 2e-4, and two turns of D a step."""


class Config(SpectralConfig):
    """Brock et al. 2019 for ImageNet at 128 px, as BigGAN-PyTorch trains it (batches of 2048)."""

    conditional: bool = Field(default=True, description="labels in every norm of G, projection in D")
    latent: int = Field(default=120, ge=1, description="numbers of noise")
    width: int = Field(default=96, ge=1, description="maps that every multiple counts (ch)")
    discriminator_width: int | None = Field(default=None, ge=1, description="likewise in D; none: the same")
    generator_multiples: tuple[Width, ...] = Field(
        default=(16, 16, 8, 4, 2, 1), min_length=2, description="of the width, from the smallest map up"
    )
    discriminator_multiples: tuple[Width, ...] = Field(
        default=(1, 2, 4, 8, 16, 16), min_length=2, description="of the width: each block's, or with depth each stage's"
    )
    halvings: int = Field(default=5, ge=1, description="how many of D's blocks (stages), from the first, halve")
    depth: int = Field(default=0, ge=0, description="bottleneck blocks a resolution (BigGAN-deep); 0: one plain block")
    shared_embedding: int = Field(
        default=128, ge=0, description="numbers of a label's code for all norms; 0: a table of gains for each"
    )
    hierarchical: bool = Field(default=True, description="a chunk of the noise joins each block's code (deep: all)")
    generator_attention: tuple[Width, ...] = Field(
        default=(4,), description="blocks (deep: resolutions), from 1, followed by attention"
    )
    discriminator_attention: tuple[Width, ...] = Field(default=(1,), description="likewise in D")
    rectified_shortcut: bool = Field(default=False, description="D's shortcuts see relu(x), as in StudioGAN")
    norm_eps: float = Field(default=1e-5, gt=0, description="of batch norm")
    spectral_eps: float = Field(default=1e-6, gt=0, description="of the power iteration")
    init: Literal["orthogonal", "normal", "glorot"] = Field(default="orthogonal", description="normal: N(0, 0.02)")
    truncation_span: float = Field(
        default=2.0, gt=0, description="below truncation 1, noise stays within truncation·this; at 1 it is whole"
    )
    generator: Optimiser = ADAM["generator"]
    discriminator: Optimiser = ADAM["discriminator"]

    @model_validator(mode="after")
    def _blocks(self) -> Config:
        steps = {
            "generator": len(self.generator_multiples) - 1,
            "discriminator": len(self.discriminator_multiples) - bool(self.depth),
        }
        if self.halvings > steps["discriminator"]:
            raise ValueError(f"halvings: {self.halvings} is not allowed; D has {steps['discriminator']} blocks")
        for name, count in steps.items():
            attended: tuple[int, ...] = getattr(self, f"{name}_attention")
            if any(number > count for number in attended):
                raise ValueError(f"{name}_attention: {max(attended)} is not allowed; there are {count} blocks")
        if self.hierarchical and not self.depth and self.latent % len(self.generator_multiples):
            raise ValueError(
                f"latent: {self.latent} does not divide into {len(self.generator_multiples)} chunks, "
                "one for the first layer and one a block; choose a multiple or set hierarchical to false"
            )
        if self.hierarchical and self.conditional and not self.shared_embedding:
            raise ValueError(
                "hierarchical: noise joins a shared code, and shared_embedding is 0; set it, or this to false"
            )
        if self.depth and list(self.discriminator_multiples) != sorted(self.discriminator_multiples):
            raise ValueError(
                "discriminator_multiples: with depth, shortcuts add maps and never drop them; do not shrink"
            )
        if self.depth and list(self.generator_multiples) != sorted(self.generator_multiples, reverse=True):
            raise ValueError("generator_multiples: with depth, shortcuts drop maps and never add them; do not grow")
        return self


_SMALL: dict[str, Any] = {
    "shared_embedding": 32,
    "generator_attention": [2],
    "discriminator_attention": [1],
    "generator": {"lr": 5e-4},
    "discriminator": {"lr": 1e-3},
}

PRESETS: dict[str, dict[str, Any]] = {
    "imagenet128": {},
    "imagenet128_ch64": {"width": 64},
    "imagenet128_deep": {"width": 128, "depth": 2, "latent": 128},
    "cifar10": {
        "latent": 128,
        "width": 64,
        "generator_multiples": [4, 4, 4, 4],
        "discriminator_multiples": [4, 4, 4, 4],
        "halvings": 2,
        "shared_embedding": 0,
        "hierarchical": False,
        "generator_attention": [],
        "discriminator_attention": [],
        "discriminator_steps": 4,
        "init": "normal",
        "spectral_eps": 1e-12,
        **both(lr=2e-4, eps=1e-8),
    },
    "cifar10_studiogan": {
        "latent": 80,
        "generator_multiples": [4, 4, 4, 4],
        "discriminator_multiples": [2, 2, 2, 2],
        "halvings": 2,
        "generator_attention": [2],
        "discriminator_steps": 5,
        "rectified_shortcut": True,
        "norm_eps": 1e-4,
        **both(lr=2e-4, beta1=0.5),
    },
    "zoo": {
        **_SMALL,
        "latent": 80,
        "width": 8,
        "discriminator_width": 16,
        "generator_multiples": [12, 6, 3, 2],
        "discriminator_multiples": [1, 2, 4, 4],
        "halvings": 3,
    },
    "smoke": {
        **_SMALL,
        "latent": 48,
        "width": 16,
        "generator_multiples": [2, 1, 1],
        "discriminator_multiples": [1, 2],
        "halvings": 2,
    },
}

CANON: dict[str, Canon] = {
    "imagenet128": Canon(
        "BigGAN-128 (ch 96, hier, shared 128, dim_z 120)", (3, 128, 128), 1000, counts=(70_433_988, 87_982_370)
    ),
    "imagenet128_ch64": Canon("BigGAN-128 ch 64", (3, 128, 128), 1000, counts=(31_978_628, 39_448_258)),
    "imagenet128_deep": Canon("BigGAN-deep-128 ch 128 depth 2", (3, 128, 128), 1000, counts=(50_244_484, 34_590_210)),
    "cifar10": Canon("BigGAN CIFAR-10 (author script)", (3, 32, 32), 10, counts=(4_304_387, 4_207_361)),
    "cifar10_studiogan": Canon("BigGAN CIFAR-10 (StudioGAN)", (3, 32, 32), 10, counts=(9_416_196, 2_415_170)),
}


class Family(SpectralFamily[Config]):
    """“Large scale GAN training for high fidelity natural image synthesis”, Brock et al. 2019.

    The hinge loss on spectrally normalised G and D; z = (z₀, z₁, …): z₀ makes the first map, and block i
    has gain 1 + Aᵢ(e(y) ⊕ zᵢ) and bias Bᵢ(e(y) ⊕ zᵢ). D sees reals and fakes in one pass. Orthogonal
    regularisation (equation 3) is `generator_orthogonal`. Truncation draws z from N(0, 1) conditioned
    on |z| ≤ t, which trades variety for fidelity. Good for: many classes and large batches; a batch is
    accumulated over lanes, with batch norm within each.
    """

    paper = "Brock, Donahue, Simonyan 2019, arXiv:1809.11096"

    def check(self, spec: DataSpec) -> None:
        config = self.config
        self.check_networks(spec, len(config.generator_multiples) - 1, config.halvings, config.discriminator_attention)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        layers = SpectralLayers(config.spectral_eps)
        classes = self.count_classes(spec)
        width = config.discriminator_width or config.width
        plan = DiscriminatorPlan(
            recipe=Recipe(layers, wide=True, rectified_shortcut=config.rectified_shortcut),
            widths=tuple(width * multiple for multiple in config.discriminator_multiples),
            halvings=config.halvings,
            channels=spec.channels,
            classes=classes,
            attention=config.discriminator_attention,
        )
        networks: dict[str, nn.Module] = {
            "generator": BigganGenerator(self._generator_plan(Recipe(layers), spec, classes)),
            "discriminator": SpectralDiscriminator(plan, deep_blocks(plan, config.depth) if config.depth else None),
        }
        if config.init == "normal":
            init.normal(0.02, *networks.values())
        elif config.init == "glorot":
            init.glorot(*networks.values(), residual_gain=1.0)
        else:
            init.orthogonal(*networks.values())
        return networks

    def _generator_plan(self, recipe: Recipe, spec: DataSpec, classes: int) -> BigganPlan:
        config = self.config
        height, width = (axis // 2 ** (len(config.generator_multiples) - 1) for axis in spec.resolution)
        widths = tuple(config.width * multiple for multiple in config.generator_multiples)
        noise: Literal["none", "chunks", "whole"] = "none"
        if config.hierarchical:
            noise = "whole" if config.depth else "chunks"
        return BigganPlan(
            ResidualPlan(recipe, (height, width), widths, spec.channels, config.latent, config.generator_attention),
            classes,
            config.shared_embedding,
            noise,
            config.depth,
            config.norm_eps,
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Below 1, noise is N(0, 1) within ±truncation·`truncation_span`. A float label (n, classes) mixes classes."""
        z = latents["z"]
        if truncation < 1:
            z = truncated_normal(z, truncation * self.config.truncation_span)
        return networks["generator"](z, self.label_of(condition))
