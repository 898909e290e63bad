"""R3GAN: a relativistic loss with R1 and R2 at every step, on a pair of networks without norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Networks, Optimiser, Ramp
from pipeline.families import _geometry
from pipeline.families._adversarial import LatentFamily, Reads
from pipeline.families._choices import LossChoice, PenaltyChoices, Width
from pipeline.families._settings import RENAMED, LatentSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.r3gan import GroupedPlan, LabelledGenerator, ProjectingDiscriminator
from pipeline.types import Batch, DataSpec


def decay(start: float, end: float, examples: int = 20_000_000) -> Ramp:
    """A cosine ramp whose length is written on the reference's clock.

    The reference counts a step's batch once though D and G each read their own; this project's
    clock counts both, so that a ramp lasts twice as many examples and as many steps.
    """
    return Ramp(start=start, end=end, examples=2 * examples, shape="cosine")


def r1_r2(gamma: float | Ramp) -> dict[str, Any]:
    """Both penalties of one γ."""
    number = gamma.model_dump() if isinstance(gamma, Ramp) else gamma
    return {"r1": {"gamma": number}, "r2": {"gamma": number}}


ADAM = Optimiser(lr=decay(2e-4, 5e-5), beta1=0.0, beta2=decay(0.9, 0.99))
"""2e-4 → 5e-5, β₁ 0, β₂ 0.9 → 0.99 over the reference's 20 million images."""


class Config(LatentSettings):
    """Huang et al. 2024 for CIFAR-10; stages run from the smallest map up, one doubling between them."""

    renamed: ClassVar[Mapping[str, str]] = {**RENAMED, "gamma": "penalties.r1.gamma and penalties.r2.gamma"}

    latent: int = Field(default=64, ge=1, description="numbers of noise")
    label_embedding: int = Field(default=64, ge=1, description="numbers a label becomes beside the noise")
    widths: tuple[Width, ...] = Field(default=(768, 768, 768, 768), min_length=1, description="maps a stage")
    blocks: tuple[Width, ...] = Field(default=(2, 2, 2, 2), description="residual blocks a stage")
    groups: tuple[Width, ...] = Field(default=(96, 96, 96, 96), description="groups of the 3×3 convolutions a stage")
    expansion: int = Field(default=2, ge=1, description="inner over outer width of a block")
    last_gain: float = Field(
        default=0.0, ge=0, description="gain of a block's last layer at the start; the paper's 0 adds blocks slowly"
    )
    bounded: bool = Field(
        default=False, description="tanh after the generator, for pictures with a saturated background; not the paper's"
    )
    loss: LossChoice = Field(default={"name": "relativistic"}, description="a file of pipeline/losses")
    penalties: PenaltyChoices = Field(
        default=tuple({"name": name, **keys} for name, keys in r1_r2(decay(0.05, 0.005)).items()),
        description="of pipeline/penalties; γ grows with the number of pixels",
    )
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @classmethod
    def modern(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        keys = dict(stored)
        both = [{"name": name, "gamma": keys["gamma"]} for name in ("r1", "r2")] if "gamma" in keys else None
        keys.pop("gamma", None)
        return super().modern(keys if both is None else {**keys, "penalties": both})

    @model_validator(mode="after")
    def _stages(self) -> Config:
        if not len(self.widths) == len(self.blocks) == len(self.groups):
            counts = f"{len(self.widths)}, {len(self.blocks)} and {len(self.groups)}"
            raise ValueError(f"widths: widths, blocks and groups need one number a stage each, and have {counts}")
        for width, groups in zip(self.widths, self.groups, strict=True):
            if width * self.expansion % groups:
                raise ValueError(f"groups: {groups} do not divide the inner width {width}·{self.expansion}")
        return self


def _stages(widths: list[int], groups: list[int], gamma: Ramp) -> dict[str, Any]:
    return {"widths": widths, "blocks": [2] * len(widths), "groups": groups, "penalties": r1_r2(gamma)}


def _imagenet(stages: int, gamma: Ramp) -> dict[str, Any]:
    slow = {"lr": decay(2e-4, 5e-5, 200_000_000).model_dump(), "beta2": decay(0.9, 0.99, 200_000_000).model_dump()}
    shape = _stages([1536] * stages, [96] * stages, gamma)
    return {"conditional": True, **shape, **both(**slow)}


_AUGMENT: dict[str, Any] = {"augment": {"name": "ada", "p": decay(0.0, 0.55).model_dump(), "color": 0.5, "cutout": 1.0}}

# Outside CIFAR-10 γ is from memory of the reference's launcher, and p is left out: confirm before claiming scores.
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {"conditional": True, **_AUGMENT},
    "cifar10_uncond": _AUGMENT,
    "ffhq64": _stages([768] * 4 + [384], [96] * 4 + [48], decay(2.0, 0.2)),
    "ffhq256": _stages([768] * 4 + [384, 192, 96], [96] * 4 + [48, 24, 12], decay(150.0, 15.0)),
    "imagenet32": _imagenet(4, decay(0.5, 0.05, 200_000_000)),
    "imagenet64": _imagenet(5, decay(1.0, 0.1, 200_000_000)),
    "small": {
        "label_embedding": 32,
        "widths": [48, 32, 16],
        "blocks": [1, 1, 1],
        "groups": [6, 4, 2],
        "penalties": r1_r2(0.5),
        **both(lr=4e-4, beta2=0.99),
    },
    # A thousand steps: blocks that start as nothing, and a background that G has to meet exactly, would take them all.
    "zoo": {
        "conditional": True,
        "label_embedding": 32,
        "widths": [96, 48, 16, 8],
        "blocks": [1, 1, 1, 1],
        "groups": [1, 1, 1, 1],
        "expansion": 1,
        "last_gain": 0.5,
        "bounded": True,
        "penalties": r1_r2(1.0),
        **both(lr=1e-3, beta2=0.99),
    },
    "smoke": {
        "conditional": True,
        "label_embedding": 16,
        "widths": [24, 16, 16],
        "blocks": [1, 1, 1],
        "groups": [3, 2, 2],
        "penalties": r1_r2(0.5),
        **both(lr=4e-4, beta2=0.99),
    },
}

CANON: dict[str, Canon] = {
    "cifar10": Canon("R3GAN CIFAR-10 cond", (3, 32, 32), 10, counts=(20_781_952, 21_280_512)),
    "cifar10_uncond": Canon("R3GAN CIFAR-10 uncond", (3, 32, 32), counts=(20_732_160, 20_683_776)),
    "ffhq64": Canon("R3GAN FFHQ-64", (3, 64, 64), counts=(22_429_824, 22_381_440)),
    "ffhq256": Canon("R3GAN FFHQ-256", (3, 256, 256), counts=(23_057_952, 23_009_568)),
    "imagenet32": Canon("R3GAN ImageNet-32", (3, 32, 32), 1000, counts=(82_914_304, 86_548_992)),
    "imagenet64": Canon("R3GAN ImageNet-64", (3, 64, 64), 1000, counts=(103_570_432, 107_205_120)),
}


class Family(LatentFamily[Config]):
    """“The GAN is dead; long live the GAN!”, Huang et al. 2024."""

    paper = "Huang, Gokaslan, Kuleshov, Tompkin 2024, arXiv:2501.05441"

    shared_pass = True

    @property
    def reads(self) -> Mapping[str, Reads]:
        """Reals and noise of its own for each player."""
        return {"discriminator": "fresh", "generator": "fresh"}

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        _geometry.check_doublings(self.name, "widths", spec.resolution, len(self.config.widths) - 1)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        height, width = (axis // 2 ** (len(config.widths) - 1) for axis in spec.resolution)
        plan = GroupedPlan(
            (height, width),
            config.widths,
            config.blocks,
            config.groups,
            spec.channels,
            config.expansion,
            config.last_gain,
        )
        classes = self.count_classes(spec)
        return {
            "generator": LabelledGenerator(plan, config.latent, classes, config.label_embedding, config.bounded),
            "discriminator": ProjectingDiscriminator(plan, classes),
        }

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """The paper's generator has no output activation: what leaves [−1, 1] is cut here, and only here."""
        return super().sample(networks, latents, condition, truncation).clamp(-1, 1)
