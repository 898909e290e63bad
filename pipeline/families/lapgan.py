"""LAPGAN: a small image from noise, then level by level the detail that its enlargement lacks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Ramp, Turn
from pipeline.errors import SettingsError
from pipeline.families import _geometry, _shared
from pipeline.families._adversarial import AugmentingFamily
from pipeline.families._choices import LossChoice, Width
from pipeline.families._settings import LossSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.lapgan import (
    SMALLEST,
    BaseDiscriminator,
    BaseGenerator,
    LevelDiscriminator,
    LevelGenerator,
)
from pipeline.networks.layers.resample import coarser, finer
from pipeline.types import Batch, DataSpec

EPOCH = 2 * 45_000  # D and G each read their own batches, and the clock counts both


SGD = Optimiser(
    name="sgd",
    lr=Ramp(start=0.02, end=0.02 / 1.00004**1000, examples=1000 * EPOCH, shape="geometric"),
    momentum=Ramp(start=0.0, end=0.7, examples=875 * EPOCH),
)
"""0.02 divided by 1.00004 an epoch; momentum 0 rising by 0.0008 an epoch to 0.7."""


class Config(LossSettings):
    """Denton et al. 2015 for CIFAR-10, class-conditional."""

    conditional: bool = Field(default=True, description="labels enter every network")
    levels: int = Field(default=2, ge=1, le=8, description="doublings from the base to the data")
    latent: int = Field(default=100, ge=1, description="numbers of the base's noise, uniform")
    width: int = Field(default=64, ge=1, description="maps of the levels' convolutions")
    base_generator: tuple[Width, ...] = Field(default=(1200, 1200), description="units of the base's G")
    base_discriminator: tuple[Width, ...] = Field(default=(600, 600), description="units of the base's D")
    keep: float = Field(
        default=0.5, gt=0, le=1, description="share that D's dropout keeps: behind every dense layer, and the last maps"
    )
    loss: LossChoice = Field(default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses")
    generator: Optimiser = Field(default=SGD, description="of every level's generator")
    discriminator: Optimiser = Field(default=SGD, description="of every level's discriminator")


def _adam(lr: float) -> dict[str, Any]:
    return both(name="adam", lr=lr, beta1=0.5, beta2=0.999)


_UNCONDITIONAL = {
    "lr": Ramp(start=0.02, end=0.02 / 1.000004**1000, examples=1000 * EPOCH, shape="geometric").model_dump(),
    "momentum": Ramp(start=0.5, end=0.7, examples=250 * EPOCH).model_dump(),
}

PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar10_uncond": {"conditional": False, **both(**_UNCONDITIONAL)},
    "zoo": {"width": 24, "base_generator": [256, 256], "base_discriminator": [128, 128], **_adam(5e-4)},
    "smoke": {
        "levels": 1,
        "width": 8,
        "latent": 32,
        "base_generator": [64, 64],
        "base_discriminator": [64, 64],
        **_adam(5e-4),
    },
}

CANON: dict[str, Canon] = {
    "cifar10": Canon(
        "LAPGAN CIFAR class-cond, 64 maps (levels to 16 and 32 px on an 8 px FC base)",
        (3, 32, 32),
        10,
        counts=(1_804_992, 483_001, 224_131, 112_769, 232_579, 129_409),
    ),
    "cifar10_uncond": Canon(
        "LAPGAN CIFAR uncond, 64 maps (levels to 16 and 32 px on an 8 px FC base)",
        (3, 32, 32),
        counts=(1_792_992, 477_001, 218_179, 108_353, 218_179, 116_545),
    ),
}


class Family(AugmentingFamily[Config]):
    """“Deep generative image models using a Laplacian pyramid of adversarial networks”, Denton et al. 2015.

    x̃_k = u(x̃_{k+1}) + G_k(z_k, u(x̃_{k+1})), from the base x̃_K = G_K(z_K) up; u enlarges. Each level is a
    GAN of its own: its G sees the enlarged *real* coarse image, its D the sum of coarse and detail. All
    are trained side by side, each on its share of the same step, which is as good as one after the other,
    since none looks at another's weights. Good for: seeing why adding detail was easier than drawing at once.
    """

    paper = "Denton, Chintala, Szlam, Fergus 2015, arXiv:1506.05751"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,), "uniform"),)

    def latents_for(self, spec: DataSpec) -> LatentSpec:
        """The base's noise, then a map for each level."""
        _, *levels = self._sizes(spec)
        maps = (Latent(f"noise_{level}", (1, *size), "uniform") for level, size in enumerate(levels, 1))
        return (*self.latents, *maps)

    @property
    def averaged(self) -> tuple[str, ...]:
        return tuple(f"generator_{level}" for level in self._levels)

    @property
    def _levels(self) -> range:
        """0 is the base."""
        return range(self.config.levels + 1)

    def _sizes(self, spec: DataSpec) -> list[tuple[int, int]]:
        """(height, width) of every level, the base first."""
        height, width = (side // 2**self.config.levels for side in spec.resolution)
        return [(height * 2**level, width * 2**level) for level in self._levels]

    def check(self, spec: DataSpec) -> None:
        _shared.check_modality(self.name, "image", spec)
        self.check_classes(spec.classes)
        _geometry.find_base(self.name, spec.resolution, self.config.levels, 1)
        smallest = min(self._sizes(spec)[1])
        if smallest < SMALLEST:
            fewer = f"set levels to {self.config.levels - 1} or below, or " if self.config.levels > 1 else ""
            raise SettingsError(
                f"families.{self.name}.levels: the first level has a side of {smallest}, and its discriminator needs "
                f"{SMALLEST}; {fewer}{_geometry.resize_to(spec.resolution, 10 * 2 ** (self.config.levels - 1))}"
            )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, channels = self.config, spec.channels
        classes = len(spec.classes) if config.conditional else 0
        (height, width), *levels = self._sizes(spec)
        networks: dict[str, nn.Module] = {
            "generator_0": BaseGenerator(config.latent, config.base_generator, (channels, height, width), classes),
            "discriminator_0": BaseDiscriminator(
                channels * height * width, config.base_discriminator, classes, config.keep
            ),
        }
        for level, size in enumerate(levels, 1):
            networks[f"generator_{level}"] = LevelGenerator(channels, config.width, size, classes)
            networks[f"discriminator_{level}"] = LevelDiscriminator(channels, config.width, size, classes, config.keep)
        return networks

    def players(self) -> tuple[Player, ...]:
        return tuple(
            Player(f"{side}_{level}", (f"{side}_{level}",), optimiser)
            for side, optimiser in (("discriminator", self.config.discriminator), ("generator", self.config.generator))
            for level in self._levels
        )

    def phases(self) -> tuple[Phase, ...]:
        """Every level's D on one batch, then every level's G on another."""
        return tuple(
            Phase(
                f"{side}_{level}",
                f"{side}_{level}",
                partial(objective, level),
                batch="same" if level else "fresh",
                latents=side,
            )
            for side, objective in (("discriminator", self._discriminator), ("generator", self._generator))
            for level in self._levels
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Each level's own output feeds the next; what leaves [−1, 1] at the end is cut here, and only here."""
        label = _shared.label_of(condition, self.config.conditional)
        x = networks["generator_0"](latents["z"] * truncation, label)
        for level in self._levels[1:]:
            coarse = finer(x)
            x = coarse + networks[f"generator_{level}"](coarse, latents[f"noise_{level}"] * truncation, label)
        return x.clamp(-1, 1)

    # --- objectives ---

    def _real(self, turn: Turn, level: int) -> Tensor:
        """The real image at a level's size."""
        x = _shared.real_of(turn)
        for _ in range(self.config.levels - level):
            x = coarser(x)
        return x

    def _make(self, turn: Turn, level: int) -> Tensor:
        """What D is shown as fake: the base's image, or a real coarse image with G's detail."""
        network, label = turn.networks[f"generator_{level}"], _shared.label_of(turn.batch, self.config.conditional)
        if level == 0:
            return network(turn.latents["z"], label)
        coarse = finer(self._real(turn, level - 1))
        return coarse + network(coarse, turn.latents[f"noise_{level}"], label)

    def _outputs(self, turn: Turn, level: int, x: Tensor, purpose: str) -> Tensor:
        label = _shared.label_of(turn.batch, self.config.conditional)
        dropout = turn.generator(f"dropout/{purpose}")
        return turn.networks[f"discriminator_{level}"](self.augmented(turn, x, purpose), label, dropout)

    def _discriminator(self, level: int, turn: Turn) -> dict[str, Tensor]:
        fake = _shared.without_graph(lambda: self._make(turn, level))
        on_real = self._outputs(turn, level, self._real(turn, level), "real")
        on_fake = self._outputs(turn, level, fake, "fake")
        loss = self.loss.discriminator(on_real, on_fake)
        parts = {**_shared.means(on_real, on_fake, self.loss.signed), **self.watched(turn, on_real)}
        return {"total": loss, "loss": loss, **parts}

    def _generator(self, level: int, turn: Turn) -> dict[str, Tensor]:
        on_real = None
        if self.loss.needs_real:
            on_real = _shared.without_graph(lambda: self._outputs(turn, level, self._real(turn, level), "real"))
        on_fake = self._outputs(turn, level, self._make(turn, level), "fake")
        loss = self.loss.generator(on_real, on_fake)
        return {"total": loss, "loss": loss, "fake": on_fake.detach().mean()}
