"""pix2pix: one image becomes its counterpart, learnt from pairs; a U-Net against a PatchGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Phase, Player, Turn
from pipeline.families import _shared, _translation
from pipeline.families._shared import Canon
from pipeline.families._translation import Jitter, TranslatorOptimiser, fading
from pipeline.networks import initialisation
from pipeline.networks.patch import PatchDiscriminator, PatchPlan
from pipeline.networks.unet import Dropper, Unet, UnetPlan
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec

BITS = 32
WIDEST = 8


class Config(Settings):
    """Isola et al. 2017: U-Net-256 and the 70×70 PatchGAN; sides must be multiples of 2^halvings."""

    generator_width: int = Field(default=64, ge=1, description="maps of the first halving, doubled up to 8 times it")
    halvings: int = Field(default=8, ge=2, le=12, description="8: U-Net-256, 7: U-Net-128")
    dropped_blocks: int = Field(default=3, ge=0, description="decoder blocks with dropout, from the second innermost")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="share dropped, while sampling too: the only noise")
    discriminator_width: int = Field(default=64, ge=1)
    discriminator_layers: int = Field(default=3, ge=0, le=6, description="strided convolutions; 0: a pixel at a time")
    reconstruction: float = Field(default=100.0, ge=0, description="weight of the L1 distance to the pair's other half")
    loss: _shared.LossChoice = Field(
        default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses"
    )
    penalty: _shared.PenaltyChoice | None = Field(default=None, description="on the discriminator, such as r1")
    init_std: float = Field(default=0.02, gt=0, description="N(0, std) for all weights")
    jitter: Jitter | None = Field(default=Jitter(), description="both halves of a pair alike, in training; null: none")
    generator: TranslatorOptimiser = TranslatorOptimiser()
    discriminator: TranslatorOptimiser = TranslatorOptimiser()

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.dropped_blocks > max(0, self.halvings - 2):
            raise ValueError(
                f"dropped_blocks: {self.dropped_blocks} is not allowed; {self.halvings} halvings leave "
                f"{max(0, self.halvings - 2)} blocks between the innermost and the image"
            )
        _shared.check_penalty(self.penalty, True, "take r1")
        _shared.check_bounded(self.loss, self.penalty)
        return self


_SMALL: dict[str, Any] = {"jitter": None, "generator": {"lr": 1e-3}, "discriminator": {"lr": 5e-4}}

PRESETS: dict[str, dict[str, Any]] = {
    # 100 epochs at one rate, 100 more towards 0, in batches of one; facades has 400 pairs.
    "facades256": {"generator": fading(400), "discriminator": fading(400)},
    "unet128": {"halvings": 7, "dropped_blocks": 2},
    "pixel128": {"halvings": 7, "dropped_blocks": 2, "discriminator_layers": 0},
    "zoo": {
        "generator_width": 16,
        "halvings": 4,
        "dropped_blocks": 1,
        "discriminator_width": 16,
        "discriminator_layers": 2,
        **_SMALL,
    },
    "smoke": {
        "generator_width": 8,
        "halvings": 3,
        "dropped_blocks": 1,
        "discriminator_width": 8,
        "discriminator_layers": 1,
        **_SMALL,
    },
}


def _pairs(side: int) -> dict[str, Any]:
    return {"shape": (3, side, side), "fields": (("pair", (3, side, side)),)}


CANON: dict[str, Canon] = {
    "facades256": Canon("pix2pix 256 (U-Net-256 BN dropout; 70x70 PatchGAN, 6 ch)", **_pairs(256)),
    "unet128": Canon("pix2pix U-Net-128", **_pairs(128)),
    "pixel128": Canon("pix2pix U-Net-128 / pixel D", **_pairs(128)),
}


class Family(BaseFamily[Config]):
    """“Image-to-image translation with conditional adversarial networks”, Isola et al. 2017.

    For a pair of an input a (`pair`) and its counterpart b (`x`), D minimises
    −½E[log D(a, b)] − ½E[log(1 − D(a, G(a)))] and G −E[log D(a, G(a))] + 100·E‖b − G(a)‖₁ (equations 1, 3 and 4).
    There is no z: dropout in the decoder is the noise, in training and in sampling, its masks drawn from
    32 bits a sample. Good for: colouring, maps, sketches, day to night, wherever pairs can be had.

    Samples are made as the authors make them, in training mode and one by one: each is normalised by its
    own statistics. `truncation` scales the share that is dropped, so that 0 is the deterministic translation.
    """

    paper = "Isola, Zhu, Zhou, Efros 2017, arXiv:1611.07004"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loss = _shared.load_loss(config.loss)
        self._penalty = _shared.load_penalty(config.penalty) if config.penalty else None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "pair"})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({"pair"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("dropout", (BITS,), "bits"),)

    def check(self, spec: DataSpec) -> None:
        _translation.check_planes("pix2pix", spec, "pair", 2**self.config.halvings)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        inputs = _translation.other_shape(spec, "pair")[0]
        widths = tuple(config.generator_width * min(2**depth, WIDEST) for depth in range(config.halvings))
        patches = PatchPlan(inputs + spec.channels, config.discriminator_width, config.discriminator_layers)
        networks: dict[str, nn.Module] = {
            "generator": Unet(UnetPlan(inputs, spec.channels, widths, config.dropped_blocks)),
            "discriminator": PatchDiscriminator(patches),
        }
        for network in networks.values():
            initialisation.normal(network, config.init_std)
        return networks

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", ("discriminator",), self.config.discriminator),
            Player("generator", ("generator",), self.config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """D first; G then answers for the translation that D has just seen."""
        return (
            Phase("discriminator", "discriminator", self._discriminator, latents="dropout"),
            Phase("generator", "generator", self._generator, batch="same", latents="dropout"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        source = _translation.field_of(condition, "pair", "pix2pix")
        share = min(self.config.dropout * truncation, 0.99)
        return networks["generator"](source, Dropper(seeds(latents["dropout"]), share), alone=True)

    # --- objectives ---

    def _pair(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """Inputs and their counterparts, jittered as one; the same for both players of a step."""
        source, target = _translation.field_of(turn.batch, "pair", "pix2pix"), _shared.real_of(turn)
        jitter = self.config.jitter
        if jitter is None:
            return source, target

        def make() -> tuple[Tensor, Tensor]:
            both = _translation.jittered(torch.cat([source, target], dim=1), jitter, turn.generator("jitter"))
            return both[:, : source.shape[1]], both[:, source.shape[1] :]

        return turn.once("pair", make)

    def _fake(self, turn: Turn) -> Tensor:
        def make() -> Tensor:
            drop = Dropper(seeds(turn.latents["dropout"]), self.config.dropout)
            return turn.networks["generator"](self._pair(turn)[0], drop)

        return turn.once("fake", make)

    def _halves(self, turn: Turn, second: Tensor) -> Tensor:
        """The input and an image behind it, as D sees them."""
        return torch.cat([self._pair(turn)[0], second], dim=1)

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        network = turn.networks["discriminator"]
        real, fake = self._halves(turn, self._pair(turn)[1]), self._halves(turn, self._fake(turn).detach())
        on_fake, on_real = network(fake), network(real)
        loss = self._loss.critic(on_real, on_fake)
        parts = {"total": loss, "loss": loss, **_shared.critic_parts(on_real, on_fake)}
        if self._penalty is not None:
            generator = turn.generator("penalty")
            penalty = self._penalty(lambda x: _translation.mean_logit(network(x)), real, fake, generator)
            parts |= {"total": loss + penalty, "penalty": penalty}
        return parts

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        network, real, fake = turn.networks["discriminator"], self._pair(turn)[1], self._fake(turn)
        on_real = _shared.without_graph(lambda: network(self._halves(turn, real))) if self._loss.needs_real else None
        on_fake = network(self._halves(turn, fake))
        adversarial, distance = self._loss.generator(on_real, on_fake), (real - fake).abs().mean()
        total = adversarial + self.config.reconstruction * distance
        return {"total": total, "adversarial": adversarial, "l1": distance, "fake": on_fake.detach().mean()}


def seeds(bits: Tensor) -> Tensor:
    """±1 (n, 32) → the number each row spells, int64 (n,)."""
    weights = 2 ** torch.arange(bits.shape[1], dtype=torch.int64, device=bits.device)
    return ((bits > 0).long() * weights).sum(1)
