"""SRGAN and ESRGAN: a small image becomes a large one, first as near as can be, then as sharp as a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import LatentSpec, Networks, Optimiser, Phase, Ramp, Resizing, Segment, Turn
from pipeline.contract.extractor import AnyExtractor
from pipeline.errors import SettingsError
from pipeline.families import _choices, _content, _shared, _translation
from pipeline.families._adversarial import AdversarialFamily, Passes, Terms
from pipeline.families._choices import LossChoice
from pipeline.families._content import Content, ContentLoss, apart
from pipeline.families._settings import GameSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures import esrgan, srgan
from pipeline.networks.architectures.srgan import EnlargerPlan
from pipeline.types import Batch, DataSpec

LOW = "low"
BATCH = 16
PRETRAINING = 1_000_000 * BATCH
LEAST = {"srgan": 1, "esrgan": 2**esrgan.HALVINGS}


def _falling(start: float, end: float, after: int) -> Optimiser:
    """Adam at one rate, and from `after` examples on at another."""
    return Optimiser(lr=Ramp(start=start, end=end, after=after, examples=1), beta1=0.9, beta2=0.999)


ADAM = _falling(1e-4, 1e-5, PRETRAINING + 100_000 * BATCH)
"""1e-4 for pre-training and 10⁵ updates more, then 1e-5 (Ledig et al. 2017, section 3.2)."""


class Config(GameSettings):
    """Ledig et al. 2017: SRResNet of 16 blocks, ×4, crops of 96 pixels in batches of 16, VGG19's features."""

    labelled: ClassVar[bool] = False

    scale: Literal[2, 4] = Field(default=4, description="of both sides; the field `low` is as much smaller than x")
    design: Literal["srgan", "esrgan"] = Field(
        default="srgan", description="srgan: residual blocks with batch norm; esrgan: dense blocks without"
    )
    generator_width: int = Field(default=64, ge=1, description="maps of every block")
    blocks: int = Field(default=16, ge=1, le=64, description="residual ones; of esrgan, each of three dense blocks")
    growth: int = Field(default=32, ge=1, description="of esrgan: maps that each dense layer adds")
    residual_scale: float = Field(default=0.2, gt=0, le=1, description="of esrgan: what branches are multiplied by")
    discriminator_width: int = Field(default=64, ge=1, description="maps of the first convolution")
    crop: int | None = Field(
        default=None, ge=16, description="side of the squares of x that are trained on; null: the whole image"
    )
    pretraining: int = Field(
        default=PRETRAINING, ge=0, description="examples of the first segment: pixels alone, without a discriminator"
    )
    pretraining_distance: Literal["l1", "l2"] = "l2"
    content: Content = Field(default=Content(), description="what the second segment compares images by")
    pixels: float = Field(default=0.0, ge=0, description="weight, in the second segment, of the L1 distance of pixels")
    adversarial: float = Field(default=1e-3, ge=0, description="weight of the loss in what the generator minimises")
    first: Literal["discriminator", "generator"] = Field(
        default="discriminator", description="who moves first in a step"
    )
    loss: LossChoice = Field(default={"name": "non_saturating"}, description="a file of pipeline/losses")
    share_fakes: bool = Field(default=True, description="the generator answers for the fakes that D has just seen")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.crop is not None and self.crop % self.scale:
            raise ValueError(f"crop: {self.crop} is not a multiple of scale: {self.scale}")
        _choices.check_bounded(self.loss, self.penalties)
        return self


_SMALL: dict[str, Any] = {
    "content": {"name": "reference", "weight": 1.0, "distance": "l2"},
    "pixels": 1.0,
    "discriminator_width": 16,
    **both(lr=1e-3),
}

PRESETS: dict[str, dict[str, Any]] = {
    "x4": {"crop": 96},
    "x2": {"crop": 96, "scale": 2},
    # Wang et al. 2018, section 4.1. Their rate is also halved within both segments, which one ramp cannot say.
    "esrgan": {
        "design": "esrgan",
        "blocks": 23,
        "crop": 128,
        "pretraining_distance": "l1",
        "content": {"name": "vgg19", "layer": "conv5_4", "distance": "l1", "rescale": 1.0},
        "pixels": 1e-2,
        "first": "generator",
        # Of each player's loss the mean of both halves.
        "loss": {"name": "relativistic", "average": True, "scale": 0.5},
        "adversarial": 5e-3 / 2,
        **both(**_falling(2e-4, 1e-4, PRETRAINING).model_dump()),
    },
    "zoo": {
        "generator_width": 32,
        "blocks": 6,
        "pretraining": 48_640,
        **_SMALL,
        "generator": {"lr": {"start": 2e-3, "end": 1e-4, "examples": 48_640, "shape": "cosine"}},
    },
    "smoke": {
        "generator_width": 6,
        "blocks": 1,
        "pretraining": 64,
        **_SMALL,
        "content": {"name": "pixels"},
        "discriminator_width": 4,
    },
}


def _enlarging(side: int, scale: int) -> dict[str, Any]:
    return {"shape": (3, side, side), "fields": ((LOW, (3, side // scale, side // scale)),)}


CANON: dict[str, Canon] = {
    "x4": Canon("SRGAN x4 paper (16 blocks; D for 96 px)", **_enlarging(96, 4), counts=(1_547_350, 23_563_649)),
    "x2": Canon("SRGAN x2 (16 blocks; D for 96 px)", **_enlarging(96, 2), counts=(1_399_637, 23_563_649)),
    "esrgan": Canon(
        "ESRGAN x4 (23 RRDB, no BN; VGG-like D for 128 px)", **_enlarging(128, 4), counts=(16_697_987, 14_499_401)
    ),
}


class Family(AdversarialFamily[Config]):
    """“Photo-realistic single image super-resolution using a GAN”, Ledig et al. 2017; “ESRGAN”, Wang et al. 2018.

    For a photograph x and its reduction l (`low`), the first segment minimises E‖x − G(l)‖² (equation 4). In the
    second D minimises −E[log D(x)] − E[log(1 − D(G(l)))] and G E‖φ(x) − φ(G(l))‖² − 10⁻³·E[log D(G(l))]
    (equations 2, 3, 5 and 6), where φ is a layer of VGG19 over 12.75. ESRGAN puts dense blocks in place of residual
    ones, its D compares with the mean of the other side, φ is taken before the activation, and G also minimises
    10⁻²·E‖x − G(l)‖₁. Good for: enlarging photographs; with `low` from `degrade`, restoring them.

    G is made of convolutions alone: an image of any size goes in, one `scale` times as large comes out. It reads low
    in [0, 1] and gives x in [−1, 1] (Ledig et al., section 3.2), ESRGAN's in [0, 1]; content is compared in [0, 1],
    and samples are cut to the range, which nothing is in training.
    """

    paper = "Ledig et al. 2017, arXiv:1609.04802; Wang et al. 2018, arXiv:1809.00219"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.content = ContentLoss(config.content)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", LOW})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({LOW})

    @property
    def latents(self) -> LatentSpec:
        return ()

    @property
    def resizing(self) -> Resizing:
        return Resizing(scale=self.config.scale)

    @property
    def assets(self) -> tuple[str, ...]:
        return self.content.assets

    @property
    def perceives(self) -> bool:
        return self.config.content.name == "reference"

    def perceive(self, extractor: AnyExtractor) -> None:
        self.content.extractor = extractor

    @property
    def first(self) -> Literal["discriminator", "generator"]:
        return self.config.first

    @property
    def adversarial(self) -> float:
        return self.config.adversarial

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        config, sides = self.config, spec.resolution
        low = _translation.other_shape(spec, LOW)[1:]
        if low != tuple(side // config.scale for side in sides) or any(side % config.scale for side in sides):
            made = tuple(side * config.scale for side in low)
            found, made, wanted = ("×".join(map(str, each)) for each in (low, made, sides))
            raise SettingsError(
                f"families.{self.name}.scale: {config.scale} makes {made} of low, which is {found}, and x is {wanted}; "
                f"set ingest.derive: {{low: {{name: downscale, "
                f"factor: {config.scale}}}}} and an ingest.resolution that {config.scale} divides"
            )
        if config.crop is not None and config.crop > min(sides):
            raise SettingsError(
                f"families.{self.name}.crop: {config.crop} is more than the smaller side of the data, {min(sides)}; "
                "set it to null, or ingest at a higher ingest.resolution"
            )
        seen = self._sides(spec)
        if min(seen) < LEAST[config.design]:
            raise SettingsError(
                f"families.{self.name}.design: esrgan's discriminator halves five times and needs sides of "
                f"{LEAST[config.design]}, and it sees {'×'.join(map(str, seen))}; take design: srgan, or a higher "
                "ingest.resolution"
            )
        if config.content.name == "vgg19" and min(seen) < _content.LEAST:
            raise SettingsError(
                f"families.{self.name}.content: vgg19 needs sides of {_content.LEAST}, and it sees "
                f"{'×'.join(map(str, seen))}; take content: {{name: reference}}"
            )
        if self.perceives and seen != sides:
            raise SettingsError(
                f"families.{self.name}.content: the reference's extractor sees whole images of "
                f"{'×'.join(map(str, sides))}, and crop takes {config.crop} of them; set crop to null, or take "
                "content: {name: vgg19}"
            )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, sides = self.config, self._sides(spec)
        inputs = _translation.other_shape(spec, LOW)[0]
        plan = EnlargerPlan(inputs, spec.channels, config.scale, config.generator_width, config.blocks)
        if config.design == "esrgan":
            return {
                "generator": esrgan.Rrdb(plan, config.growth, config.residual_scale),
                "discriminator": esrgan.EsrganDiscriminator(spec.channels, sides, config.discriminator_width),
            }
        return {
            "generator": srgan.SrResNet(plan),
            "discriminator": srgan.SrganDiscriminator(spec.channels, sides, config.discriminator_width),
        }

    def segments(self) -> tuple[Segment, ...]:
        """Pixels alone; then the game, whose optimisers begin again."""
        game = Segment("adversarial", self.phases(), reset_optimisers=True)
        if not self.config.pretraining:
            return (game,)
        alone = Phase("pretraining", "generator", self._pretraining)
        return (Segment("pretraining", (alone,), examples=self.config.pretraining), game)

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Of low of any size; there is no noise, and so nothing for `truncation` to scale."""
        made = networks["generator"](_shared.unit(_translation.field_of(condition, LOW, self.name)))
        return (2 * made - 1 if self._unit_range else made).clamp(-1, 1)

    # --- objectives ---

    @property
    def _unit_range(self) -> bool:
        """Whether the networks' images lie in [0, 1]."""
        return self.config.design == "esrgan"

    def _sides(self, spec: DataSpec) -> tuple[int, int]:
        """Of what the discriminator sees."""
        height, width = spec.resolution
        return (height, width) if self.config.crop is None else (self.config.crop, self.config.crop)

    def _pair(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """low in [0, 1] and x in the networks' range, cut at one place; the same for both players of a step."""
        low, x = _translation.field_of(turn.batch, LOW, self.name), _shared.real_of(turn)

        def make() -> tuple[Tensor, Tensor]:
            a, b = _translation.cropped(low, x, self.config.crop, self.config.scale, turn.generator("crop"))
            return _shared.unit(a), _shared.unit(b) if self._unit_range else b

        # With several turns of D, each has a batch of its own.
        return make() if self.config.repeats else turn.once("pair", make)

    def _content_range(self, x: Tensor) -> Tensor:
        return x if self._unit_range else _shared.unit(x)

    def _pretraining(self, turn: Turn) -> dict[str, Tensor]:
        low, x = self._pair(turn)
        distance = apart(turn.networks["generator"](low), x, self.config.pretraining_distance)
        return {"total": distance, self.config.pretraining_distance: distance}

    def real(self, turn: Turn) -> Tensor:
        return self._pair(turn)[1]

    def generate(self, turn: Turn) -> Tensor:
        return turn.networks["generator"](self._pair(turn)[0])

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        x, config = self._pair(turn)[1], self.config
        content = self.content(self._content_range(seen.fake), self._content_range(x))
        terms: dict[str, tuple[float, Tensor]] = {"content": (config.content.weight, content)}
        if config.pixels:
            terms["l1"] = (config.pixels, apart(seen.fake, x, "l1"))
        return terms
