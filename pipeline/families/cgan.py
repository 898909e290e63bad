"""Conditional GAN: a label beside the noise and beside the image, on perceptrons or at every layer of a DCGAN."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Optimiser, Ramp, Turn
from pipeline.families import _choices, _geometry
from pipeline.families._adversarial import LatentFamily
from pipeline.families._choices import LossChoice, Width
from pipeline.families._settings import StackSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.cgan import (
    BranchedDiscriminator,
    BranchedGenerator,
    TwoBranchMaxout,
    TwoBranchRelu,
)
from pipeline.networks.architectures.dcgan import CodedDiscriminator, CodedGenerator
from pipeline.networks.blocks.dense_stacks import DensePlan
from pipeline.networks.layers import init
from pipeline.networks.layers.embedding import LabelCode, LabelVector
from pipeline.types import DataSpec

UPDATES_TO_FLOOR = math.log(0.1 / 1e-6) / math.log(1.00004)
THEANO_EPS = 1e-8


SGD = Optimiser(
    name="sgd",
    lr=Ramp(start=0.1, end=1e-6, examples=round(100 * UPDATES_TO_FLOOR), shape="geometric"),
    momentum=Ramp(start=0.5, end=0.7, examples=12_500_000),
)
"""0.1 divided by 1.00004 an update of 100 examples down to 1e-6; momentum 0.5 → 0.7."""


class Config(StackSettings):
    """Mirza & Osindero 2014 for MNIST; `strided` is the conditional DCGAN of its authors' repository."""

    conditional: bool = Field(default=True, description="false: the same networks without the label's branches")
    architecture: Literal["perceptron", "strided"] = "perceptron"
    label: LabelCode = Field(default="one_hot", description="the paper's; embedding: a learnt table in each network")
    label_embedding: int = Field(default=10, ge=1, description="numbers a label becomes, with embedding")
    generator_branches: tuple[Width, Width] = Field(
        default=(200, 1000), description="perceptron: relu units for the noise and for the label"
    )
    generator_joint: int = Field(default=1200, ge=1, description="perceptron: relu units of both")
    discriminator_units: tuple[Width, Width, Width] = Field(
        default=(240, 50, 240), description="perceptron: maxout units for pixels, label and both"
    )
    discriminator_pieces: tuple[Width, Width, Width] = Field(
        default=(5, 5, 4), description="perceptron: maps each maxout unit takes the largest of"
    )
    keep: float = Field(default=0.5, gt=0, le=1, description="perceptron: share of hidden units that dropout keeps")
    init: float = Field(default=0.05, gt=0, description="perceptron: weights uniform in ±this")
    dense: int = Field(default=1024, ge=1, description="strided: units of the dense layers")
    loss: LossChoice = Field(default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses")
    simultaneous: bool = Field(
        default=True, description="both gradients at one point; false: D, then G on noise of its own"
    )
    generator: Optimiser = SGD
    discriminator: Optimiser = SGD

    @model_validator(mode="after")
    def _fits(self) -> Config:
        strided = self.architecture == "strided"
        _choices.check_penalties(self.penalties, strided, "take r1, or architecture: perceptron")
        return self


def _adam(lr: float, weight_decay: float = 0.0) -> dict[str, Any]:
    return both(name="adam", lr=lr, beta1=0.5, beta2=0.999, weight_decay=weight_decay)


_STRIDED: dict[str, Any] = {"architecture": "strided", "simultaneous": False, "loss": {"name": "non_saturating"}}

PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {},
    # The authors hold the learning rate for 100 epochs of 60,000 and bring it to 0 over 100 more.
    "mnist_strided": {**_STRIDED, **_adam(2e-4, 2.5e-5)},
    "zoo": {**_STRIDED, "generator_width": 16, "discriminator_width": 16, "dense": 256, **_adam(5e-4)},
    "smoke": {**_STRIDED, "latent": 32, "generator_width": 8, "discriminator_width": 8, "dense": 64, **_adam(5e-4)},
}

CANON: dict[str, Canon] = {
    "mnist": Canon("cGAN-2014 MNIST", (1, 28, 28), 10, counts=(2_413_984, 1_224_351)),
    "mnist_strided": Canon(
        "cond. DCGAN MNIST (label concat at every layer)", (1, 28, 28), 10, counts=(6_820_538, 6_688_202)
    ),
}


class Family(LatentFamily[Config]):
    """“Conditional generative adversarial nets”, Mirza & Osindero 2014.

    min_G max_D E[log D(x|y)] + E[log(1 − D(G(z|y)|y))] (equation 2), played non-saturating. `strided`
    joins the label to every layer's input, as maps where it is one (Radford et al. 2016's code). Good
    for: seeing what a label alone does to the GANs of 2014 and 2016.
    """

    paper = "Mirza, Osindero 2014, arXiv:1411.1784"

    @property
    def distribution(self) -> Literal["normal", "uniform"]:
        return "uniform"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        if self._is_strided:
            _geometry.find_base(self.name, spec.resolution, self.config.levels, self.config.smallest)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        classes = self.count_classes(spec)
        up, down = (LabelVector(classes, config.label, config.label_embedding) for _ in range(2))
        make = self._strided if self._is_strided else self._perceptrons
        generator, discriminator = make(spec, up, down)
        return {"generator": generator, "discriminator": discriminator}

    @property
    def _is_strided(self) -> bool:
        return self.config.architecture == "strided"

    def _perceptrons(self, spec: DataSpec, up: LabelVector, down: LabelVector) -> tuple[nn.Module, nn.Module]:
        config = self.config
        pixels, labels, joint = zip(config.discriminator_units, config.discriminator_pieces, strict=True)
        relu = TwoBranchRelu(config.latent, up.width, config.generator_branches, config.generator_joint, spec.size)
        maxout = TwoBranchMaxout(spec.size, down.width, (pixels, labels, joint))
        init.uniform(config.init, relu, maxout)
        return BranchedGenerator(up, relu, spec.shape, config.keep), BranchedDiscriminator(down, maxout, config.keep)

    def _strided(self, spec: DataSpec, up: LabelVector, down: LabelVector) -> tuple[nn.Module, nn.Module]:
        config = self.config
        (height, width), levels = _geometry.find_base(self.name, spec.resolution, config.levels, config.smallest)

        def plan(last: int) -> DensePlan:
            widths = tuple(last * 2**level for level in reversed(range(levels)))
            return DensePlan(
                (height, width),
                widths,
                spec.channels,
                (config.dense,),
                joined=up.width,
                affine=False,
                norm_eps=THEANO_EPS,
            )

        generator = CodedGenerator(plan(config.generator_width), config.latent, up)
        discriminator = CodedDiscriminator(plan(config.discriminator_width), down, unit=True)
        init.normal(0.02, generator.stack, discriminator.stack)
        return generator, discriminator

    def generate(self, turn: Turn) -> Tensor:
        if self._is_strided:
            return super().generate(turn)
        return turn.networks["generator"](turn.latents["z"], self.label(turn), turn.generator("dropout/noise"))

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        if self._is_strided:
            return super().outputs(turn, x, purpose)
        dropout = turn.generator(f"dropout/{purpose}")
        return turn.networks["discriminator"](self.augmented(turn, x, purpose), self.label(turn), dropout)
