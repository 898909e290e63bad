"""pix2pix: one image becomes its counterpart, learnt from pairs; a U-Net against a PatchGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Resizing, Turn
from pipeline.families import _choices, _shared, _translation
from pipeline.families._adversarial import AdversarialFamily, Passes, Terms
from pipeline.families._choices import LossChoice
from pipeline.families._settings import GameSettings
from pipeline.families._shared import Canon, both
from pipeline.families._translation import ADAM, Jitter, fading
from pipeline.networks.architectures.pix2pix import PatchDiscriminator, PatchPlan, Unet, UnetPlan
from pipeline.networks.layers import init
from pipeline.networks.layers.dropout import Dropper
from pipeline.types import Batch, DataSpec

BITS = 32
WIDEST = 8


class Config(GameSettings):
    """Isola et al. 2017: U-Net-256 and the 70×70 PatchGAN; sides must be multiples of 2^halvings."""

    labelled: ClassVar[bool] = False

    generator_width: int = Field(default=64, ge=1, description="maps of the first halving, doubled up to 8 times it")
    halvings: int = Field(default=8, ge=2, le=12, description="8: U-Net-256, 7: U-Net-128")
    dropped_blocks: int = Field(default=3, ge=0, description="decoder blocks with dropout, from the second innermost")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="share dropped, while sampling too: the only noise")
    discriminator_width: int = Field(default=64, ge=1)
    discriminator_layers: int = Field(default=3, ge=0, le=6, description="strided convolutions; 0: a pixel at a time")
    reconstruction: float = Field(default=100.0, ge=0, description="weight of the L1 distance to the pair's other half")
    loss: LossChoice = Field(default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses")
    share_fakes: bool = Field(default=True, description="the generator answers for the fakes that D has just seen")
    init_std: float = Field(default=0.02, gt=0, description="N(0, std) for all weights")
    jitter: Jitter | None = Field(default=Jitter(), description="both halves of a pair alike, in training; null: none")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.dropped_blocks > max(0, self.halvings - 2):
            raise ValueError(
                f"dropped_blocks: {self.dropped_blocks} is not allowed; {self.halvings} halvings leave "
                f"{max(0, self.halvings - 2)} blocks between the innermost and the image"
            )
        _choices.check_penalties(self.penalties, True, "take r1")
        _choices.check_bounded(self.loss, self.penalties)
        return self


_SMALL: dict[str, Any] = {"jitter": None, "generator": {"lr": 1e-3}, "discriminator": {"lr": 5e-4}}

PRESETS: dict[str, dict[str, Any]] = {
    # 100 epochs at one rate, 100 more towards 0, in batches of one; facades has 400 pairs.
    "facades256": both(**fading(400)),
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
    "facades256": Canon(
        "pix2pix 256 (U-Net-256 BN dropout; 70x70 PatchGAN, 6 ch)", **_pairs(256), counts=(54_413_955, 2_768_705)
    ),
    "unet128": Canon("pix2pix U-Net-128", **_pairs(128), counts=(41_828_995, 2_768_705)),
    "pixel128": Canon("pix2pix U-Net-128 / pixel D", **_pairs(128), counts=(41_828_995, 9_024)),
}


class Family(AdversarialFamily[Config]):
    """“Image-to-image translation with conditional adversarial networks”, Isola et al. 2017.

    For a pair of an input a (`pair`) and its counterpart b (`x`), D minimises
    −½E[log D(a, b)] − ½E[log(1 − D(a, G(a)))] and G −E[log D(a, G(a))] + 100·E‖b − G(a)‖₁ (equations 1, 3 and 4).
    There is no z: dropout in the decoder is the noise, in training and in sampling, its masks drawn from
    32 bits a sample. Good for: colouring, maps, sketches, day to night, wherever pairs can be had.

    Samples are made as the authors make them, in training mode and one by one: each is normalised by its
    own statistics. `truncation` scales the share that is dropped, so that 0 is the deterministic translation.
    """

    paper = "Isola, Zhu, Zhou, Efros 2017, arXiv:1611.07004"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "pair"})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({"pair"})

    @property
    def resizing(self) -> Resizing:
        return Resizing(multiple=2**self.config.halvings, least=2**self.config.halvings)

    @property
    def latents(self) -> LatentSpec:
        return (Latent("dropout", (BITS,), "bits"),)

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        _translation.check_planes(self.name, spec, "pair", 2**self.config.halvings)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        inputs = _translation.other_shape(spec, "pair")[0]
        widths = tuple(config.generator_width * min(2**depth, WIDEST) for depth in range(config.halvings))
        patches = PatchPlan(inputs + spec.channels, config.discriminator_width, config.discriminator_layers)
        networks: dict[str, nn.Module] = {
            "generator": Unet(UnetPlan(inputs, spec.channels, widths, config.dropped_blocks, _is_map(spec))),
            "discriminator": PatchDiscriminator(patches),
        }
        init.normal(config.init_std, *networks.values())
        return networks

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        source = _translation.field_of(condition, "pair", self.name)
        share = min(self.config.dropout * truncation, 0.99)
        return networks["generator"](source, Dropper(seeds(latents["dropout"]), share), alone=True)

    # --- objectives ---

    def _pair(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """Inputs and their counterparts, jittered as one; the same for both players of a step."""
        source, target = _translation.field_of(turn.batch, "pair", self.name), _shared.real_of(turn)

        def make() -> tuple[Tensor, Tensor]:
            planes = cast(Unet, turn.networks["generator"]).planes
            # Two generators of one purpose draw alike, so that both halves are cut at the same place.
            cut = _translation.jittered(source, self.config.jitter, turn.generator("jitter"), planes)
            return cut, _translation.jittered(target, self.config.jitter, turn.generator("jitter"))

        # With several turns of D, each has a batch of its own.
        return make() if self.config.repeats else turn.once("pair", make)

    def real(self, turn: Turn) -> Tensor:
        """The input and its counterpart behind it (n, both's channels, H, W), as D sees them."""
        return torch.cat(self._pair(turn), dim=1)

    def generate(self, turn: Turn) -> Tensor:
        """The input and its translation behind it."""
        source = self._pair(turn)[0]
        drop = Dropper(seeds(turn.latents["dropout"]), self.config.dropout)
        return torch.cat([source, turn.networks["generator"](source, drop)], dim=1)

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        target = self._pair(turn)[1]
        return {"l1": (self.config.reconstruction, (target - seen.fake[:, -target.shape[1] :]).abs().mean())}


def _is_map(spec: DataSpec) -> bool:
    """Whether the input is planes of classes, made of a label map."""
    pair = spec.field("pair")
    return pair is not None and pair.kind == "mask"


def seeds(bits: Tensor) -> Tensor:
    """±1 (n, 32) → the number each row spells, int64 (n,)."""
    weights = 2 ** torch.arange(bits.shape[1], dtype=torch.int64, device=bits.device)
    return ((bits > 0).long() * weights).sum(1)
