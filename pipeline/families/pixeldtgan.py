"""PixelDTGAN: a photograph becomes the product seen in it; one discriminator sees products, the other both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import LatentSpec, Networks, Optimiser, Phase, Player, Resizing, Turn
from pipeline.families import _shared, _translation
from pipeline.families._settings import DesignSettings
from pipeline.families._shared import Canon
from pipeline.networks.architectures.pixeldtgan import LAST, Converter, DomainDiscriminator
from pipeline.networks.layers import init
from pipeline.types import Batch, DataSpec

SGD = Optimiser(name="sgd", lr=2e-4, momentum=0.5)
ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.999)


class Config(DesignSettings):
    """Yoo et al. 2016 as it is run: 64 pixels, 96 maps, no code in the middle."""

    generator_width: int = Field(default=96, ge=1, description="maps of the first halving, doubled up to 8 times it")
    discriminator_width: int = Field(default=96, ge=1, description="the same of both discriminators")
    halvings: int = Field(default=4, ge=2, le=8, description="of all networks; sides must be 4·2^halvings or more")
    init_std: float = Field(default=0.02, gt=0, description="N(0, std) for all weights")
    generator: Optimiser = SGD
    discriminator: Optimiser = Field(default=SGD, description="of single images")
    domain_discriminator: Optimiser = Field(default=SGD, description="of pairs")


def _all(optimiser: Optimiser) -> dict[str, Any]:
    return {name: optimiser.model_dump() for name in ("generator", "discriminator", "domain_discriminator")}


_SMALL: dict[str, Any] = _all(ADAM.model_copy(update={"lr": 1e-3}))

PRESETS: dict[str, dict[str, Any]] = {
    "lookbook64": {},
    "adam64": _all(ADAM),
    "zoo": {"generator_width": 24, "discriminator_width": 24, "halvings": 3, **_SMALL},
    "smoke": {"generator_width": 6, "discriminator_width": 6, "halvings": 2, **_SMALL},
}

CANON: dict[str, Canon] = {
    "lookbook64": Canon(
        "PixelDTGAN (fxia22, ngf=ndf=96, conv bias removed)",
        (3, 64, 64),
        fields=(("pair", (3, 64, 64)),),
        counts=(12_399_552, 6_212_736, 6_217_344),
    )
}


class Family(BaseFamily[Config]):
    """“Pixel-level domain transfer”, Yoo et al. 2016.

    For a source s (`pair`), its target t (`x`), an irrelevant target t⁻ of another example, and t̂ = G(s): the
    discriminator D of single images minimises ⅓·(BCE(D(t), 1) + BCE(D(t⁻), 1) + BCE(D(t̂), 0)), that of pairs, A,
    ⅓·(BCE(A(s, t), 1) + BCE(A(s, t⁻), 0) + BCE(A(s, t̂), 0)), and G ½·(BCE(D(t̂), 1) + BCE(A(s, t̂), 1)) (equations
    2 to 4). Good for: pairs whose halves share what they show, and not where it is.

    t⁻ is the target of another example of the lane, drawn at each step. There is no noise.
    """

    paper = "Yoo, Kim, Park, Paek, Kweon 2016, arXiv:1603.07442"
    least_lane = 2  # another example's target is held against each source

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "pair"})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({"pair"})

    @property
    def latents(self) -> LatentSpec:
        return ()

    @property
    def resizing(self) -> Resizing:
        multiple = 2**self.config.halvings
        return Resizing(multiple=multiple, least=multiple)

    def check(self, spec: DataSpec) -> None:
        _shared.check_modality(self.name, "image", spec)
        _translation.check_halvings(self.name, spec, "pair", self.config.halvings, LAST)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, width = self.config, self.config.discriminator_width
        source = _translation.other_shape(spec, "pair")[0]
        networks: dict[str, nn.Module] = {
            "generator": Converter(source, spec.channels, config.generator_width, config.halvings),
            "discriminator": DomainDiscriminator(spec.channels, width, config.halvings),
            "domain_discriminator": DomainDiscriminator(source + spec.channels, width, config.halvings),
        }
        init.normal(config.init_std, *networks.values())
        return networks

    def players(self) -> tuple[Player, ...]:
        config = self.config
        return (
            Player("discriminator", ("discriminator",), config.discriminator),
            Player("domain_discriminator", ("domain_discriminator",), config.domain_discriminator),
            Player("generator", ("generator",), config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """Both discriminators, then the generator, on one batch and the same products."""
        return (
            Phase("discriminator", "discriminator", self._discriminator),
            Phase("domain_discriminator", "domain_discriminator", self._domain_discriminator, batch="same"),
            Phase("generator", "generator", self._generator, batch="same"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return networks["generator"](_translation.field_of(condition, "pair", self.name))

    # --- objectives ---

    def _source(self, turn: Turn) -> Tensor:
        return _translation.field_of(turn.batch, "pair", self.name)

    def _product(self, turn: Turn) -> Tensor:
        return turn.once("product", lambda: turn.networks["generator"](self._source(turn)))

    def _irrelevant(self, turn: Turn) -> Tensor:
        """Targets of other examples: the lane's, moved on by a number of places that is drawn."""

        def make() -> Tensor:
            x = _shared.real_of(turn)
            places = int(torch.randint(1, max(len(x), 2), (), generator=turn.generator("irrelevant")))
            return x.roll(places, 0)

        return turn.once("irrelevant", make)

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        seen = (_shared.real_of(turn), self._irrelevant(turn), self._product(turn).detach())
        real, other, fake = (turn.networks["discriminator"](each) for each in seen)
        return _parts(total=(_bce(real, 1) + _bce(other, 1) + _bce(fake, 0)) / 3, real=real, fake=fake)

    def _domain_discriminator(self, turn: Turn) -> dict[str, Tensor]:
        seen = (_shared.real_of(turn), self._irrelevant(turn), self._product(turn).detach())
        source, network = self._source(turn), turn.networks["domain_discriminator"]
        real, other, fake = (network(torch.cat([source, each], dim=1)) for each in seen)
        found = _parts(total=(_bce(real, 1) + _bce(other, 0) + _bce(fake, 0)) / 3, real=real, fake=fake)
        return {**found, "irrelevant": other.detach().mean()}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        product = self._product(turn)
        real = _bce(turn.networks["discriminator"](product), 1)
        fits = _bce(turn.networks["domain_discriminator"](torch.cat([self._source(turn), product], dim=1)), 1)
        return {"total": (real + fits) / 2, "discriminator": real, "domain_discriminator": fits}


def _bce(logits: Tensor, target: int) -> Tensor:
    """Mean binary cross-entropy of logits with one target: softplus(−a) for 1, softplus(a) for 0."""
    return F.softplus(-logits if target else logits).mean()


def _parts(total: Tensor, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    return {"total": total, "loss": total, "real": real.detach().mean(), "fake": fake.detach().mean()}
