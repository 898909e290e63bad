"""DCGAN: a pair of strided convolutional stacks, from 2016's canon to a small one that digits need."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from pipeline.contract import Optimiser
from pipeline.families import _choices, _geometry
from pipeline.families._adversarial import LatentFamily
from pipeline.families._settings import StackSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.dcgan import (
    CodedDiscriminator,
    PairedDiscriminator,
    PairedGenerator,
    PairedPlan,
    StackGenerator,
)
from pipeline.networks.blocks.dense_stacks import DensePlan, DenseUpward
from pipeline.networks.blocks.strided_stacks import DownwardStack, StackPlan, UpwardStack
from pipeline.networks.layers import init
from pipeline.networks.layers.embedding import LabelVector
from pipeline.types import DataSpec

THEANO_EPS = 1e-8
"""Of batch norm in the authors' code."""


ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.999)


class Config(StackSettings):
    """Radford et al. 2016 as pytorch/examples has it; the data's H×W must be base·2^k.

    Maps double towards the smallest resolution: width, 2·width, … up to max_width.
    """

    architecture: Literal["strided", "dense", "paired"] = Field(
        default="strided",
        description="dense: the authors' 5×5 stacks that end in dense layers; paired: StudioGAN's for 32 px",
    )
    latent_distribution: Literal["normal", "uniform"] = "normal"
    max_width: int = Field(default=1024, ge=1)
    upsampling: Literal["transposed", "nearest"] = "transposed"
    generator_norm: Literal["batch", "none"] = "batch"
    discriminator_norm: Literal["batch", "layer", "none"] = "batch"
    bias: bool = Field(default=False, description="convolutions have one; pointless before batch norm")
    init_std: float | None = Field(default=0.02, gt=0, description="N(0, std) for all weights; none: torch's defaults")
    label_in_generator: Literal["embedding", "norm"] = Field(
        default="embedding", description="joined to the noise, or a gain and bias of batch norm per class"
    )
    label_embedding: int = Field(default=32, ge=1, description="numbers a label becomes beside the noise")
    share_fakes: bool = Field(default=True, description="the generator answers for the fakes that D has just seen")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _fits(self) -> Config:
        fixed = {"upsampling": "transposed", "generator_norm": "batch", "discriminator_norm": "batch"}
        for key, only in fixed.items():
            if self.architecture != "strided" and getattr(self, key) != only:
                raise ValueError(f"{key}: architecture {self.architecture} has {only}; leave it, or take strided")
        if self.architecture != "strided" and self.label_in_generator == "norm":
            raise ValueError(
                f"label_in_generator: architecture {self.architecture} takes labels beside the noise alone"
            )
        batch_norm = self.discriminator_norm == "batch"
        _choices.check_penalties(self.penalties, batch_norm, "set discriminator_norm to layer or none, or take r1")
        return self


_LIVELY: dict[str, Any] = {
    "conditional": True,
    "latent": 64,
    "upsampling": "nearest",
    "label_in_generator": "norm",
    "discriminator_norm": "none",
    "bias": True,
    "init_std": None,
    "penalties": {"r1": {"gamma": 1.0, "every": 4}},
    **both(lr=1e-3, beta1=0.0, beta2=0.99),
}

PRESETS: dict[str, dict[str, Any]] = {
    "faces64": {},
    "grey64": {},
    # The authors alternate minibatches between the players; here each step has one of both, on noise of its own.
    "original64": {
        "architecture": "dense",
        "latent_distribution": "uniform",
        "generator_width": 128,
        "discriminator_width": 128,
        "share_fakes": False,
        **both(weight_decay=1e-5),
    },
    "cifar10": {
        "architecture": "paired",
        "latent": 128,
        "levels": 3,
        "init_std": None,
        "share_fakes": False,
        "discriminator_steps": 2,
        **both(eps=1e-6),
    },
    "digits": {**_LIVELY, "generator_width": 16, "discriminator_width": 32},
    "zoo": {**_LIVELY, "generator_width": 16, "discriminator_width": 16},
    "smoke": {**_LIVELY, "generator_width": 8, "discriminator_width": 8},
}

CANON: dict[str, Canon] = {
    "faces64": Canon("DCGAN 64 px RGB", (3, 64, 64), counts=(3_576_704, 2_765_568)),
    "grey64": Canon("DCGAN 64 px, 1 channel", (1, 64, 64), counts=(3_574_656, 2_763_520)),
    "original64": Canon("DCGAN 64 px original Theano (5x5, 128 maps)", (3, 64, 64), counts=(18_885_760, 17_232_768)),
    "cifar10": Canon("DCGAN CIFAR (StudioGAN)", (3, 32, 32), counts=(3_812_355, 2_931_009)),
}


class Family(LatentFamily[Config]):
    """“Unsupervised representation learning with deep convolutional GANs”, Radford et al. 2016.

    Goodfellow's non-saturating game, D: −log D(x) − log(1 − D(G(z))), G: −log D(G(z)), on strided
    convolutions with batch norm and no pooling. Good for: the field's common starting point.
    """

    paper = "Radford, Metz, Chintala 2016, arXiv:1511.06434"

    @property
    def distribution(self) -> Literal["normal", "uniform"]:
        return self.config.latent_distribution

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._base(spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        classes = self.count_classes(spec)
        embedding = config.label_embedding if classes and config.label_in_generator == "embedding" else 0
        make = {"strided": self._strided, "dense": self._dense, "paired": self._paired}[config.architecture]
        stack, discriminator = make(spec, classes, config.latent + embedding)
        networks: dict[str, nn.Module] = {
            "generator": StackGenerator(stack, classes, embedding),
            "discriminator": discriminator,
        }
        if config.init_std is not None:
            init.normal(config.init_std, *networks.values())
        elif config.architecture == "paired":
            init.orthogonal(*networks.values())
        return networks

    def _widths(self, last: int, count: int) -> tuple[int, ...]:
        return tuple(min(last * 2**above, self.config.max_width) for above in reversed(range(count)))

    def _base(self, spec: DataSpec) -> tuple[tuple[int, ...], int]:
        return _geometry.find_base(self.name, spec.resolution, self.config.levels, self.config.smallest)

    def _strided(self, spec: DataSpec, classes: int, inputs: int) -> tuple[UpwardStack, nn.Module]:
        config = self.config
        base, levels = self._base(spec)
        # Doubling by repetition needs maps at full resolution too; a transposed convolution makes the image there.
        upward = self._widths(config.generator_width, levels + (config.upsampling == "nearest"))
        by_norm = classes if config.label_in_generator == "norm" else 0
        g_plan = StackPlan(base, upward, spec.channels, config.generator_norm, config.bias, by_norm)
        downward = self._widths(config.discriminator_width, levels)
        d_plan = StackPlan(base, downward, spec.channels, config.discriminator_norm, config.bias, classes)
        return UpwardStack(g_plan, inputs, config.upsampling), DownwardStack(d_plan)

    def _dense(self, spec: DataSpec, classes: int, inputs: int) -> tuple[DenseUpward, nn.Module]:
        (height, width), levels = self._base(spec)
        shared: dict[str, Any] = {"bias": self.config.bias, "norm_eps": THEANO_EPS}
        up = self._widths(self.config.generator_width, levels)
        down = self._widths(self.config.discriminator_width, levels)
        g_plan = DensePlan((height, width), up, spec.channels, **shared)
        d_plan = DensePlan((height, width), down, spec.channels, joined=classes, **shared)
        return DenseUpward(g_plan, inputs), CodedDiscriminator(d_plan, LabelVector(classes))

    def _paired(self, spec: DataSpec, classes: int, inputs: int) -> tuple[PairedGenerator, nn.Module]:
        (height, width), levels = self._base(spec)
        down = self._widths(self.config.discriminator_width, levels)[::-1]
        up = self._widths(self.config.generator_width, levels + 1)
        plan = PairedPlan((height, width), up, down, min(2 * down[-1], self.config.max_width), spec.channels, classes)
        return PairedGenerator(plan, inputs), PairedDiscriminator(plan)
