"""Age-cGAN: faces by age band, an encoder that finds a face's noise, and so the same face at another age."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import Networks, Objective, Optimiser, Phase, Player, Segment, Turn
from pipeline.errors import SettingsError
from pipeline.families import _choices, _geometry, _shared
from pipeline.families._adversarial import LatentFamily, Passes, Reads, Terms
from pipeline.families._settings import StackSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.age_cgan import (
    AgeDiscriminator,
    AgeEncoder,
    AgeGenerator,
    AgePlan,
    KerasAgeDiscriminator,
    KerasAgeEncoder,
    KerasAgeGenerator,
)
from pipeline.networks.layers import init
from pipeline.types import DataSpec

ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.999)
ENCODER = Optimiser(lr=1e-4, beta1=0.1, beta2=0.999)
EPOCHS, FACES = 100, 120_000  # of the paper's first stage, on its cleaned part of IMDB-Wiki
LEAST = 2  # halvings: the label joins the maps between the first two


class Config(StackSettings):
    """Antipov et al. 2017 on faces of 64 pixels, with the networks, losses and rates of IcGAN's code."""

    conditional: bool = Field(default=True, description="false: without bands, there is nothing to age by")
    networks: Literal["icgan", "keras"] = Field(
        default="icgan", description="keras: dense layers and dropout in G, TensorFlow's padding, as a port has them"
    )
    levels: int | None = Field(default=None, ge=LEAST, le=10, description="halvings; none: as many as leave `smallest`")
    label_code: Literal["signed", "one_hot"] = Field(
        default="signed", description="signed: 1 for the band and −1 for the others; one_hot: 1 and 0, the paper's"
    )
    encoder_width: int = Field(default=32, ge=1, description="maps next to the encoder's input")
    dense: int = Field(default=4096, ge=1, description="units before the encoder's code")
    generator_dense: int = Field(default=2048, ge=1, description="keras: units of the generator's first layer")
    gan_examples: int = Field(
        default=EPOCHS * FACES, ge=1, description="examples of the first segment; the rest trains the encoder"
    )
    wrong_labels: float = Field(
        default=0.5, ge=0, lt=1, description="share of real images with another band in what D calls fake"
    )
    generator_labels: Literal["batch", "uniform"] = Field(
        default="batch", description="bands that G's own turn asks for: those of the data, or all alike"
    )
    encoder_distance: Literal["squared", "euclidean"] = Field(
        default="squared", description="of noise and code: the mean square, or the root of the sum of squares"
    )
    share_fakes: bool = Field(default=True, description="the generator answers for the fakes that D has just seen")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM
    encoder: Optimiser = ENCODER

    @model_validator(mode="after")
    def _fits(self) -> Config:
        compares = plugins.module("losses", str(self.loss["name"])).Loss.needs_real
        if compares:
            raise ValueError(
                f"loss: {self.loss['name']} compares each real with one fake, and here a real is held against a fake "
                "and against itself with another band; take non_saturating, hinge or least_squares"
            )
        if self.shares and self.generator_labels == "uniform":
            key = "share_fakes" if self.share_fakes else "simultaneous"
            raise ValueError(f"{key}: D saw fakes of the data's bands; set it to false, or generator_labels to batch")
        _choices.check_penalties(self.penalties, True, "take r1")
        _choices.check_bounded(self.loss, self.penalties)
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "faces64": {},
    # The port takes D's real and fake halves in two updates, and its G has dropout in its own turn alone.
    "keras64": {
        "networks": "keras",
        "label_code": "one_hot",
        "wrong_labels": 0.0,
        "generator_labels": "uniform",
        "share_fakes": False,
        "loss": {"name": "non_saturating", "smoothing": 0.1},
        "encoder_distance": "euclidean",
        **both(eps=1e-7),
        "encoder": {"lr": 2e-4, "beta1": 0.5},
    },
    "zoo": {
        "generator_width": 32,
        "discriminator_width": 32,
        "encoder_width": 16,
        "dense": 512,
        "latent": 64,
        "gan_examples": 64_000,
        "wrong_labels": 0.25,
        "penalties": {"r1": {"gamma": 1.0}},
        **both(lr=5e-4),
        "encoder": {"lr": 1e-3, "beta1": 0.5},
    },
    "smoke": {
        "latent": 8,
        "generator_width": 4,
        "discriminator_width": 4,
        "encoder_width": 4,
        "dense": 16,
        "gan_examples": 64,
        **both(lr=5e-4),
        "encoder": {"lr": 1e-3},
    },
}


def _faces(reference: str, *counts: int) -> Canon:
    return Canon(reference, (3, 64, 64), 6, counts=counts)


CANON: dict[str, Canon] = {
    "faces64": _faces("Age-cGAN on IcGAN nets, 6 ages", 3_626_819, 2_778_817, 18_278_244),
    "keras64": _faces("Age-cGAN Packt", 34_852_099, 1_567_873, 18_278_180),
}


class Family(LatentFamily[Config]):
    """“Face aging with conditional generative adversarial networks”, Antipov, Baccouche, Dugelay 2017.

    First the conditional game: D minimises −E[log D(x, y)] − ½E[log(1 − D(x, ŷ))] − ½E[log(1 − D(G(z, y), y))], where ŷ
    is another band than y, and G −E[log D(G(z, y), y)]. Then, with G fixed, the encoder minimises E‖z − E(G(z, y))‖²
    (section 2.2). The classes are age bands, or any others. Good for: showing a face at other ages, and any image of a
    class as it would look in another (`zerosum explore … age`, which also optimises z for identity, section 2.3).

    The segments are `conditional` and `encoder`, in which G and its batch norm stand still. Wrong bands, and the
    encoder's optimiser, are those of IcGAN's code (Perarnau et al. 2016, arXiv:1611.06355).
    """

    paper = "Antipov, Baccouche, Dugelay 2017, arXiv:1702.01983"
    least_lane = 2  # batch norm of the encoder's dense layer

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("generator", "encoder")

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._geometry(spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        base, levels = self._geometry(spec)
        plan = AgePlan(
            base,
            levels,
            spec.channels,
            self.count_classes(spec),
            config.latent,
            config.label_code == "signed",
            config.generator_width,
            config.discriminator_width,
            config.encoder_width,
            config.dense,
            config.generator_dense,
        )
        if config.networks == "keras":
            keras: dict[str, nn.Module] = {
                "generator": KerasAgeGenerator(plan),
                "discriminator": KerasAgeDiscriminator(plan),
                "encoder": KerasAgeEncoder(plan),
            }
            init.glorot(*keras.values())
            return keras
        networks: dict[str, nn.Module] = {
            "generator": AgeGenerator(plan),
            "discriminator": AgeDiscriminator(plan),
            "encoder": AgeEncoder(plan),
        }
        init.normal(0.02, *networks.values(), linear=False)
        return networks

    def players(self) -> tuple[Player, ...]:
        return (*super().players(), Player("encoder", ("encoder",), self.config.encoder))

    def segments(self) -> tuple[Segment, ...]:
        encoder = Phase("encoder", "encoder", self._encoder, evaluating=frozenset({"generator"}))
        return (
            Segment("conditional", self.phases(), examples=self.config.gan_examples),
            Segment("encoder", (encoder,)),
        )

    def _phase(self, name: str, player: str, objective: Objective, batch: Reads, **keys: Any) -> Phase:
        if self.config.networks == "keras" and player == "discriminator" and not self.config.shares:
            keys["evaluating"] = frozenset({"generator"})  # Keras predicts the fakes for D
        return super()._phase(name, player, objective, batch, **keys)

    def procedures(self) -> dict[str, Callable[..., Any]]:
        return {"encode": encode}

    # --- objectives ---

    def label(self, turn: Turn) -> Tensor | None:
        asked = super().label(turn)
        if asked is None or turn.phase != "generator" or self.config.generator_labels == "batch":
            return asked
        classes = _plan(turn).classes
        source = turn.generator("labels")
        return turn.once("labels", lambda: torch.randint(0, classes, asked.shape, generator=source).to(asked.device))

    def generate(self, turn: Turn) -> Tensor:
        dropping = turn.generator("dropout") if turn.phase == "generator" else None
        return turn.networks["generator"](turn.latents["z"], self.label(turn), dropping)

    def both(self, turn: Turn, real: Tensor, fake: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
        """D of reals, and of fakes with, if there are some, that of reals with another band."""
        on_real, on_wrong, label = self.outputs(turn, real, "real"), None, self.label(turn)
        if self.config.wrong_labels and label is not None:
            other = another(label, _plan(turn).classes, turn.generator("wrong"))
            on_wrong = turn.networks["discriminator"](self.augmented(turn, real, "wrong"), other)
        return on_real, (self.outputs(turn, fake, "fake"), on_wrong)

    def logits(self, outputs: Any) -> Tensor:
        return outputs[0] if isinstance(outputs, tuple) else outputs

    def discriminator_terms(self, turn: Turn, seen: Passes) -> Terms:
        """Wrong bands take their share of the weight that the loss gives to fakes."""
        fake, wrong = seen.on_fake
        if wrong is None:
            return {}
        held = self.loss.discriminator(seen.on_real, wrong) - self.loss.discriminator(seen.on_real, fake)
        return {"matching": (self.config.wrong_labels, held), "wrong": (0.0, wrong.detach().mean())}

    def _encoder(self, turn: Turn) -> dict[str, Tensor]:
        z = turn.latents["z"]
        made = _shared.without_graph(lambda: turn.networks["generator"](z, self.label_of(turn.batch)))
        apart = turn.networks["encoder"](made) - z
        squared = self.config.encoder_distance == "squared"
        loss = apart.square().mean() if squared else torch.linalg.vector_norm(apart, dim=1).mean()
        return {"total": loss, "loss": loss}

    def _geometry(self, spec: DataSpec) -> tuple[tuple[int, int], int]:
        """The smallest map, and the halvings to it.

        Raises:
            SettingsError: if there are fewer than two.
        """
        config = self.config
        (height, width), levels = _geometry.find_base(self.name, spec.resolution, config.levels, config.smallest)
        if levels < LEAST:
            written = "×".join(map(str, spec.resolution))
            raise SettingsError(
                f"families.{self.name}: halves images twice or more, to {config.smallest} pixels or above, and the "
                f"data is {written}; set smallest: 1, or "
                f"{_geometry.resize_to(spec.resolution, config.smallest * 2**LEAST)}"
            )
        return (height, width), levels


def another(label: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For each label (n,) another one, all alike."""
    steps = torch.randint(1, classes, label.shape, generator=generator)
    return (label + steps.to(label.device)) % classes


def encode(networks: Networks, x: Tensor) -> Mapping[str, Tensor]:
    """The noise by which the generator comes near to images (n, C, H, W) in [−1, 1], by the latents' names."""
    return {"z": networks["encoder"](x)}


def _plan(turn: Turn) -> AgePlan:
    plan: Any = turn.networks["discriminator"].plan
    return plan
