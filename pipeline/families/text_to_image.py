"""Text to image: GAN-CLS, GAN-INT and GAN-INT-CLS, images drawn from a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Networks, Optimiser, Ramp, Turn
from pipeline.families import _choices, _geometry, _shared
from pipeline.families._adversarial import Passes, Terms
from pipeline.families._shared import Canon, both
from pipeline.families._texts import ENCODER, TextFamily, TextSettings, interpolated
from pipeline.networks.architectures.text_to_image import TextDiscriminator, TextGenerator, TextPlan
from pipeline.networks.layers import init
from pipeline.types import Batch, DataSpec, FieldSpec

ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.999)


class Config(TextSettings):
    """Reed et al. 2016 on birds and flowers of 64 pixels: the network of their main_cls_int, GAN-INT-CLS."""

    levels: int | None = Field(default=None, ge=2, le=10, description="doublings; none: as many as leave `smallest`")
    smallest: int = Field(default=4, ge=1, description="shortest side of the smallest map, where levels is none")
    generator_width: int = Field(default=128, ge=1, description="maps next to the output")
    discriminator_width: int = Field(default=64, ge=1, description="maps next to the input")
    text_norm: bool = Field(default=True, description="batch norm of the discriminator's text (main_cls_int)")
    last_activation: bool = Field(
        default=False, description="an activation before D's last strided convolution (main_cls; main_cls_int has none)"
    )
    wrong_images: float = Field(
        default=0.5, ge=0, lt=1, description="CLS: share of real images with another's text in what D calls fake"
    )
    interpolation: float | None = Field(
        default=1.0, ge=0, description="INT: weight of fakes of two texts' mean, half as many as the batch; null: none"
    )
    init_std: float = Field(default=0.02, gt=0, description="N(0, std) for convolutions, N(1, std) for norms' gains")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.shares and self.interpolation is not None:
            raise ValueError("share_fakes: the generator's turn has fakes of mean texts, which D does not see; "
                             "set it to false, or interpolation to null")  # fmt: skip
        _choices.check_penalties(self.penalties, True, "take r1")
        _choices.check_bounded(self.loss, self.penalties)
        return self


def _halved(images: int, epochs: int, times: int) -> dict[str, Any]:
    """2e-4, halved every `epochs` of `images` in steps; here the same falls evenly."""
    return both(lr=Ramp(start=2e-4, end=2e-4 / 2**times, examples=images * epochs * times, shape="geometric"))


_SMALL: dict[str, Any] = {"projected": 32, "generator_width": 32, "discriminator_width": 32}

PRESETS: dict[str, dict[str, Any]] = {
    # Birds: 8,855 images of 150 classes, 600 epochs; flowers are the same network.
    "birds64": {**_halved(8_855, 100, 5)},
    "birds64_cls": {**_halved(8_855, 100, 5), "interpolation": None},
    "birds64_int": {**_halved(8_855, 100, 5), "wrong_images": 0.0},
    # COCO: 82,783 images, 200 epochs, the network of main_cls.
    "coco64": {
        **_halved(82_783, 40, 4),
        "generator_width": 196,
        "discriminator_width": 196,
        "averaged_captions": 3,
        "text_norm": False,
        "last_activation": True,
        "interpolation": None,
    },
    "main_cls": {"projected": 256, "text_norm": False, "last_activation": True, "interpolation": None},
    "small64": _SMALL,
    "smaller64": {**_SMALL, "generator_width": 16, "discriminator_width": 16},
    # At equal rates D is far ahead after some hundred steps, and samples stay blurred and noisy.
    "zoo": {
        **_SMALL,
        "encoder": {"name": "bag_of_words", "dimension": 256},
        "generator": {"lr": 2e-3},
        "discriminator": {"lr": 4e-4},
    },
    "smoke": {
        "latent": 8,
        "projected": 6,
        "generator_width": 4,
        "discriminator_width": 4,
        "encoder": {"name": "hashed", "dimension": 32},
        **both(lr=5e-4),
    },
}


def _captioned(reference: str, generator: int, discriminator: int, zeroed: tuple[int, int]) -> Canon:
    """Images of 64 pixels with captions. zeroed: biases that the reference sets to 0 before every use."""
    text = FieldSpec("text", "text", (5, 201), "uint8", False)
    counts = (generator, discriminator, 0)
    return Canon(reference, (3, 64, 64), further=(text,), counts=counts, idle=(*zeroed, 0))


_BIRDS = (18_909_699, 4_032_321, (4_227, 2_241))
_BIRDS_64 = "GAN-INT-CLS 64 px birds, flowers (txt 1024, nt 128, nz 100, ngf 128, ndf 64)"

CANON: dict[str, Canon] = {
    "birds64": _captioned(_BIRDS_64, *_BIRDS),
    "birds64_cls": _captioned(_BIRDS_64.replace("INT-", ""), *_BIRDS),
    "birds64_int": _captioned(_BIRDS_64.replace("-CLS", ""), *_BIRDS),
    "coco64": _captioned(
        "GAN-CLS 64 px COCO (nt 128, ngf = ndf = 196, no BN on D's text)", 41_107_551, 36_190_301, (6_471, 6_861)
    ),
    "main_cls": _captioned(
        "GAN-CLS, main_cls.lua defaults (nt 256, ngf 128, ndf 64)", 21_138_051, 4_228_801, (4_227, 2_241)
    ),
    "small64": _captioned("GAN-INT-CLS small, proposed (nt 32, ngf = ndf = 32)", 1_516_128, 1_003_232, (0, 0)),
    "smaller64": _captioned("GAN-INT-CLS small, proposed (nt 32, ngf = ndf = 16)", 539_712, 279_456, (0, 0)),
}


class Family(TextFamily[Config]):
    """“Generative adversarial text to image synthesis”, Reed et al. 2016.

    With a text t of image x, and x̂ of another class (algorithm 1), D minimises
    −E[log D(x, t)] − ½E[log(1 − D(x̂, t))] − ½E[log(1 − D(G(z, t), t))], and G −E[log D(G(z, t), t)], over the texts
    of the batch and over the means ½t₁ + ½t₂ of half as many pairs of them (equation 5). Good for: pictures of what a
    sentence says, where images come with captions.

    The texts are vectors of a frozen encoder, the mean of some captions of each image; the authors' is a char-CNN-RNN.
    Where the data has no classes, x̂ is an image with other captions. Samples are of an image's first caption.
    """

    paper = "Reed, Akata, Yan, Logeswaran, Schiele, Lee 2016, arXiv:1605.05396"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._geometry(spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        base, levels = self._geometry(spec)
        encoder = self.make_encoder(spec)
        plan = TextPlan(
            base,
            levels,
            spec.channels,
            encoder.dimension,
            config.projected,
            config.latent,
            config.generator_width,
            config.discriminator_width,
            config.text_norm,
            config.last_activation,
        )
        networks: dict[str, nn.Module] = {"generator": TextGenerator(plan), "discriminator": TextDiscriminator(plan)}
        init.normal(config.init_std, *networks.values(), linear=False)
        return {**networks, ENCODER: encoder}

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return networks["generator"](latents["z"] * truncation, self.first_text(networks, condition))

    # --- objectives ---

    def generate(self, turn: Turn) -> Tensor:
        """Fakes (n, …) of the batch's texts; in G's own turn n // 2 more behind them, of the means of two texts."""
        text = self._asked(turn)
        z, more = turn.latents["z"], len(text) - len(turn.latents["z"])
        if more:
            further = torch.randn((more, self.config.latent), generator=turn.generator("interpolation"))
            z = torch.cat([z, further.to(z.device)])
        return turn.networks["generator"](z, text)

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        text = self._asked(turn)[: len(x)]
        return turn.networks["discriminator"](self.augmented(turn, x, purpose), text)

    def both(self, turn: Turn, real: Tensor, fake: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """D of reals, and of fakes with, if there are some, that of images which do not fit their text."""
        other, there = self.wrong(turn)
        on_real, on_wrong = self.outputs(turn, real, "real"), real.new_zeros(0)
        if self.config.wrong_images and bool(there.any()):
            shown = self.augmented(turn, _shared.real_of(turn)[other[there]], "wrong")
            on_wrong = turn.networks["discriminator"](shown, self.text(turn)[there])
        return on_real, (self.outputs(turn, fake, "fake"), on_wrong)

    def logits(self, outputs: Any) -> Tensor:
        return outputs[0] if isinstance(outputs, tuple) else outputs

    def discriminator_terms(self, turn: Turn, seen: Passes) -> Terms:
        """Wrong images take their share of the weight that the loss gives to fakes."""
        fake, wrong = seen.on_fake
        if not len(wrong):
            return {}
        held = self.loss.discriminator(seen.on_real, wrong) - self.loss.discriminator(seen.on_real, fake)
        return {"matching": (self.config.wrong_images, held), "wrong": (0.0, wrong.detach().mean())}

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        """The fakes of mean texts are in the loss with weight 1; this takes them to the one that is set."""
        more = len(seen.fake) - len(turn.latents["z"])
        if self.config.interpolation is None or not more:
            return {}
        own = self.loss.generator(None, seen.on_fake[-more:])
        return {"interpolated": ((self.config.interpolation - 1) * more / len(seen.fake), own)}

    def _asked(self, turn: Turn) -> Tensor:
        """The texts that this turn's fakes are of."""
        text = self.text(turn)
        if turn.phase != "generator" or self.config.interpolation is None:
            return text
        return torch.cat([text, interpolated(text)])

    def _geometry(self, spec: DataSpec) -> tuple[tuple[int, int], int]:
        (height, width), levels = _geometry.find_base(
            self.name, spec.resolution, self.config.levels, self.config.smallest
        )
        return (height, width), levels
