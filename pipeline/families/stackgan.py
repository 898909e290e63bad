"""StackGAN: a small sketch of what a sentence says, and from sketch and sentence a picture of four times its side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Ramp, Segment, State, Turn
from pipeline.errors import SettingsError
from pipeline.families import _conditions, _geometry, _shared
from pipeline.families._conditions import Drawn
from pipeline.families._shared import Canon
from pipeline.families._texts import ENCODER, TextFamily, TextSettings
from pipeline.networks.architectures.stackgan import (
    LARGER,
    PictureGenerator,
    SketchGenerator,
    StackedDiscriminator,
    StackedPlan,
)
from pipeline.networks.layers import init
from pipeline.types import Batch, DataSpec, FieldSpec

BIRDS = 8_855  # training images


def _halved(after: int, images: int, epochs: int, times: int) -> Optimiser:
    """Adam at 2e-4, halved every so many epochs in steps; here the same falls evenly."""
    ramp = Ramp(start=2e-4, end=2e-4 / 2**times, examples=images * epochs * times, after=after, shape="geometric")
    return Optimiser(lr=ramp, beta1=0.5, beta2=0.999)


STAGE_I, STAGE_II = (_halved(after, BIRDS, epochs, 6) for after, epochs in ((0, 50), (600 * BIRDS, 100)))


class Config(TextSettings):
    """Zhang et al. 2017 on birds of 256 pixels, as the authors' TensorFlow code has it."""

    networks: Literal["paper", "port"] = Field(default="paper", description="port: the authors' PyTorch networks")
    levels: int | None = Field(
        default=None, ge=1, le=8, description="doublings of stage I; none: what `smallest` leaves"
    )
    smallest: int = Field(default=4, ge=1, description="shortest side of the smallest map, where levels is none")
    generator_width: int = Field(default=128, ge=1, description="maps next to stage I's output")
    discriminator_width: int = Field(default=64, ge=1, description="maps next to the input")
    blocks: int = Field(default=4, ge=0, le=64, description="residual blocks of stage II")
    stage1_examples: int = Field(default=600 * BIRDS, ge=1, description="examples of stage I; the rest is stage II's")
    condition_noise: bool = Field(default=True, description="conditioning augmentation: noise in the text's condition")
    divergence: float = Field(default=2.0, ge=0, description="weight of the condition's divergence from N(0, 1)")
    init_std: float = Field(default=0.02, gt=0, description="of all weights, and of norms' gains around 1")
    generator: Optimiser = STAGE_I
    discriminator: Optimiser = STAGE_I
    generator2: Optimiser = STAGE_II
    discriminator2: Optimiser = STAGE_II

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.penalties:
            raise ValueError("penalties: this design takes none; leave them out")
        if self.simultaneous or self.repeats:
            key = "simultaneous" if self.simultaneous else "discriminator_steps"
            raise ValueError(f"{key}: this design plays D once, then G; leave it out")
        return self


def _four(lr: float) -> dict[str, Any]:
    return {name: {"lr": lr} for name in ("generator", "discriminator", "generator2", "discriminator2")}


_PORT: dict[str, Any] = {"networks": "port", "share_fakes": True, "averaged_captions": 1}

PRESETS: dict[str, dict[str, Any]] = {
    "birds256": {},
    "port256": _PORT,
    "port_coco256": {**_PORT, "generator_width": 192, "discriminator_width": 96, "blocks": 2},
    "zoo": {
        "projected": 32,
        "generator_width": 16,
        "discriminator_width": 16,
        "blocks": 2,
        "encoder": {"name": "bag_of_words", "dimension": 256},
        "stage1_examples": 60_000,
        **_four(4e-4),
    },
    "smoke": {
        "latent": 8,
        "projected": 6,
        "generator_width": 4,
        "discriminator_width": 4,
        "blocks": 1,
        "smallest": 1,
        "encoder": {"name": "hashed", "dimension": 32},
        "stage1_examples": 64,
        **_four(5e-4),
    },
}


def _captioned(reference: str, *counts: int) -> Canon:
    text = FieldSpec("text", "text", (10, 201), "uint8", False)
    return Canon(reference, (3, 256, 256), further=(text,), counts=(*counts, 0))


CANON: dict[str, Canon] = {
    "birds256": _captioned(
        "StackGAN stage I / II, TF (paper, birds gf128 df64)", 14_264_192, 4_029_824, 26_290_080, 48_603_520
    ),
    "port256": _captioned(
        "StackGAN stage I / II, PyTorch port, same dims", 10_301_248, 5_715_713, 26_290_080, 71_269_122
    ),
    "port_coco256": _captioned(
        "StackGAN-Pytorch COCO yml (gf192 df96 R2)", 20_020_832, 12_407_425, 37_130_480, 159_889_538
    ),
}


class Family(TextFamily[Config]):
    """“StackGAN: text to photo-realistic image synthesis with stacked generative adversarial networks”, Zhang et al.

    Stage I draws a sketch of z and a condition c ~ N(μ(t), σ(t)²) (section 3.2), stage II a picture of the sketch and a
    condition of its own (3.4). In each, with wrong pairs as GAN-CLS has them, D minimises
    −E[log D(x, t)] − ½E[log(1 − D(x̂, t))] − ½E[log(1 − D(G, t))], and G −E[log D(G, t)] + 2·KL(N(μ, σ²) ‖ N(0, 1)),
    the mean over the condition's numbers (equations 3 to 6). Good for: larger pictures of what a sentence says.

    The segments are `sketch` and `picture`: in the second, stage I's weights are frozen, and its batch norms normalise
    by the batch, as in the authors' code. Stage I sees the data's images averaged over 4 × 4 pixels. Until stage II has
    begun, samples are sketches of four times their side. In the port's stage II, D judges the image alone as well:
    reals count ½ each, the three kinds of fakes ⅓ each; wrong pairs are the next example's text.
    """

    paper = "Zhang, Xu, Li, Zhang, Wang, Huang, Metaxas 2017, arXiv:1612.03242"

    @property
    def latents(self) -> LatentSpec:
        kind = "normal" if self._port else "uniform"
        size = (self.config.projected,)
        return (Latent("z", (self.config.latent,)), Latent("condition", size, kind), Latent("condition2", size, kind))

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("generator", "generator2", ENCODER)

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._geometry(spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        base, levels = self._geometry(spec)
        encoder = self.make_encoder(spec)
        sizes = (encoder.dimension, config.projected, config.latent, config.generator_width, config.discriminator_width)
        plan = StackedPlan(base, levels, spec.channels, *sizes, config.blocks, self._port)
        networks: dict[str, nn.Module] = {
            "generator": SketchGenerator(plan),
            "discriminator": StackedDiscriminator(plan, levels),
            "generator2": PictureGenerator(plan),
            "discriminator2": StackedDiscriminator(plan, levels + LARGER, alone=self._port),
        }
        init.normal(config.init_std, *networks.values())
        if not self._port:
            init.cut_normal(config.init_std, *networks.values())
        return {**networks, ENCODER: encoder}

    def players(self) -> tuple[Player, ...]:
        names = ("discriminator", "generator", "discriminator2", "generator2")
        return tuple(Player(name, (name,), dict(self.config)[name]) for name in names)

    def phases(self) -> tuple[Phase, ...]:
        """Stage I's; `segments` has both stages."""
        return self._stage("")

    def segments(self) -> tuple[Segment, ...]:
        return (
            Segment("sketch", self._stage(""), examples=self.config.stage1_examples),
            Segment("picture", self._stage("2")),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        text = self.first_text(networks, condition)
        scaled = {name: values * truncation for name, values in latents.items()}
        sketch = self._sketch(networks, text, scaled)[0]
        begun: Any = networks["generator2"].begun
        if not begun.is_meta and not int(begun):
            return F.interpolate(sketch, scale_factor=2**LARGER, mode="nearest")
        return networks["generator2"](sketch, self._condition(networks["generator2"], text, scaled["condition2"])[0])

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        super().after_step(networks, state, observed)
        if any(name.startswith("generator2/") for name in observed):
            begun: Any = networks["generator2"].begun
            begun.fill_(1)

    # --- objectives ---

    def generate(self, turn: Turn) -> Tensor:
        return self._drawn(turn).fake

    def real(self, turn: Turn) -> Tensor:
        x = _shared.real_of(turn)
        return x if _second(turn) else F.avg_pool2d(x, 2**LARGER)

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        real = self.real(turn)
        drawn = self._fakes(turn)
        told = drawn.told.detach()
        if self._port:
            wrong, of_wrong = real[:-1], told[1:]
        else:
            other, there = self.wrong(turn)
            wrong, of_wrong = real[other[there]], told[there]
        on_real = self._judged(turn, real, told, "real")
        on_wrong = self._judged(turn, wrong, of_wrong, "wrong") if len(wrong) else None
        on_fake = self._judged(turn, drawn.fake.detach(), told, "fake")
        total, first = _conditions.matching_loss(self.loss, on_real, on_wrong, on_fake), on_real[0]
        parts = {"loss": total, **_shared.means(first, on_fake[0], self.loss.signed), **self.watched(turn, first)}
        parts |= {} if on_wrong is None else {"wrong": on_wrong[0].detach().mean()}
        return {"total": total, **parts}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        drawn = (
            turn.once(f"drawn{_second(turn)}", lambda: self._drawn(turn)) if self.config.shares else self._drawn(turn)
        )
        on_fake = self._judged(turn, drawn.fake, drawn.told.detach(), "fake")
        loss = torch.stack([self.loss.generator(None, each) for each in on_fake]).sum()
        total = loss + self.config.divergence * drawn.divergence if self.config.condition_noise else loss
        return {"total": total, "loss": loss, "fake": on_fake[0].detach().mean(), "divergence": drawn.divergence}

    def _judged(self, turn: Turn, x: Tensor, told: Tensor, purpose: str) -> tuple[Tensor, ...]:
        """D's logits of images and texts, and in the port's stage II those of the images alone."""
        found = turn.networks[f"discriminator{_second(turn)}"](self.augmented(turn, x, purpose), told)
        return tuple(found) if found.dim() == 2 else (found,)

    def _fakes(self, turn: Turn) -> Drawn:
        """Fakes for D; the graph is kept for G's own phase where it will answer for them."""
        if self.config.shares:
            return turn.once(f"drawn{_second(turn)}", lambda: self._drawn(turn))
        with torch.no_grad():
            return self._drawn(turn)

    def _drawn(self, turn: Turn) -> Drawn:
        text = self.text(turn)
        if not _second(turn):
            fake, mean, spread = self._sketch(turn.networks, text, turn.latents)
        else:
            with torch.no_grad():
                sketch = self._sketch(turn.networks, text, turn.latents)[0]
            condition, mean, spread = self._condition(turn.networks["generator2"], text, turn.latents["condition2"])
            fake = turn.networks["generator2"](sketch, condition)
        return Drawn(fake, mean if self._port else text, _conditions.divergence(mean, spread))

    def _sketch(self, networks: Networks, text: Tensor, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Stage I's image of a text, and its condition's mean and log σ."""
        condition, mean, spread = self._condition(networks["generator"], text, latents["condition"])
        return networks["generator"](latents["z"], condition), mean, spread

    def _condition(self, network: nn.Module, text: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c, μ and log σ, (n, condition) each."""
        conditioning: Any = network.conditioning
        mean, spread = conditioning(text)
        if not self.config.condition_noise:
            return mean, mean, spread
        return mean + spread.exp() * (noise if self._port else _conditions.cut_normal(noise)), mean, spread

    def _stage(self, number: str) -> tuple[Phase, ...]:
        return (
            self._phase(f"discriminator{number}", f"discriminator{number}", self._discriminator, "fresh"),
            self._phase(f"generator{number}", f"generator{number}", self._generator, "same"),
        )

    @property
    def _port(self) -> bool:
        return self.config.networks == "port"

    def _geometry(self, spec: DataSpec) -> tuple[tuple[int, int], int]:
        """The smallest map, and stage I's doublings from it.

        Raises:
            SettingsError: if the data is too small for both stages.
        """
        config = self.config
        asked = None if config.levels is None else config.levels + LARGER
        (height, width), levels = _geometry.find_base(self.name, spec.resolution, asked, config.smallest)
        if levels <= LARGER:
            written = "×".join(map(str, spec.resolution))
            raise SettingsError(
                f"families.{self.name}: stage I needs a doubling, and stage II two, from a map of {config.smallest} or "
                f"more, and the data is {written}; set smallest: 1, or "
                f"{_geometry.resize_to(spec.resolution, config.smallest * 2 ** (LARGER + 1))}"
            )
        return (height, width), levels - LARGER


def _second(turn: Turn) -> str:
    """What stands behind the names of stage II."""
    return "2" if turn.phase.endswith("2") else ""
