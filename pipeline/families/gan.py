"""The GAN of 2014: two perceptrons, dropout in the discriminator, both players moving at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Ramp, Scheduled, Turn
from pipeline.families import _shared
from pipeline.families._shared import Canon
from pipeline.networks import initialisation
from pipeline.networks.layers import one_hot
from pipeline.networks.perceptron import MaxoutPerceptron, ReluPerceptron
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec

UPDATES_TO_FLOOR = math.log(0.1 / 1e-6) / math.log(1.000004)


class PlayerOptimiser(Optimiser):
    """SGD: 0.1 divided by 1.000004 an update of 100 examples down to 1e-6; momentum 0.5 → 0.7 in 250 epochs."""

    name: Literal["adam", "rmsprop", "sgd"] = "sgd"
    lr: Scheduled = Ramp(start=0.1, end=1e-6, examples=round(100 * UPDATES_TO_FLOOR), shape="geometric")
    momentum: Scheduled = Ramp(start=0.5, end=0.7, examples=12_500_000)


class Config(Settings):
    """Goodfellow et al. 2014 for MNIST; any height, width and channels, seen as one flat row."""

    conditional: bool = Field(default=False, description="labels, one-hot, are joined to both networks' inputs")
    latent: int = Field(default=100, ge=1, description="numbers of noise")
    latent_distribution: Literal["uniform", "normal"] = Field(default="uniform", description="of variance 1 either way")
    generator_widths: tuple[_shared.Width, ...] = Field(default=(1200, 1200), min_length=1)
    discriminator_units: tuple[_shared.Width, ...] = Field(
        default=(240, 240), min_length=1, description="maxout units a layer"
    )
    pieces: int = Field(default=5, ge=1, description="affine maps a maxout unit takes the largest of")
    keep_input: float = Field(default=0.8, gt=0, le=1, description="share of D's inputs that dropout keeps")
    keep_hidden: float = Field(default=0.5, gt=0, le=1, description="share of D's hidden units that dropout keeps")
    generator_init: float = Field(default=0.05, gt=0, description="weights uniform in ±this")
    discriminator_init: float = Field(default=0.005, gt=0, description="weights uniform in ±this")
    output_bias: float = Field(
        default=0.0, description="logit of the data's mean brightness in [0, 1]; MNIST's mean 0.1307 is −1.895"
    )
    loss: _shared.LossChoice = Field(
        default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses"
    )
    generator: PlayerOptimiser = PlayerOptimiser()
    discriminator: PlayerOptimiser = PlayerOptimiser()


_ADAM: dict[str, Any] = {"name": "adam", "lr": 2e-4, "beta1": 0.5, "beta2": 0.999}

PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {"output_bias": -1.895},
    "small": {
        "latent": 64,
        "generator_widths": [256, 256],
        "discriminator_units": [96, 96],
        "discriminator_init": 0.05,
        "generator": _ADAM,
        "discriminator": _ADAM,
    },
    "zoo": {
        "conditional": True,
        "latent": 64,
        "generator_widths": [512, 512],
        "discriminator_units": [128, 128],
        "discriminator_init": 0.05,
        "generator": _ADAM,
        "discriminator": _ADAM,
    },
    "smoke": {
        "conditional": True,
        "latent": 32,
        "generator_widths": [128, 128],
        "discriminator_units": [48, 48],
        "discriminator_init": 0.05,
        "generator": _ADAM,
        "discriminator": _ADAM,
    },
}

CANON: dict[str, Canon] = {"mnist": Canon("GAN-2014 MNIST (mnist.yaml)", (1, 28, 28))}


class Generator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W) in [−1, 1].

    The paper's images are σ(a) in [0, 1]; carried to [−1, 1], that is tanh(a/2).
    """

    def __init__(self, config: Config, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.classes = classes
        # Uniform noise comes over (−1, 1); the paper's over (−√3, √3) has variance 1.
        self.scale = math.sqrt(3) if config.latent_distribution == "uniform" else 1.0
        self.stack = ReluPerceptron(config.latent + classes, config.generator_widths, math.prod(shape))
        initialisation.uniform(self.stack, config.generator_init)
        nn.init.constant_(self.stack.output.bias, config.output_bias)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        inputs = z * self.scale
        if label is not None and self.classes:
            inputs = torch.cat([inputs, one_hot(label, self.classes)], dim=1)
        return torch.tanh(0.5 * self.stack(inputs)).view(-1, *self.shape)


class Discriminator(nn.Module):
    """x (n, C, H, W) in [−1, 1] and label (n,) → logits (n,); sees x in [0, 1]."""

    def __init__(self, config: Config, size: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.stack = MaxoutPerceptron(
            size + classes, config.discriminator_units, config.pieces, config.keep_input, config.keep_hidden
        )
        initialisation.uniform(self.stack, config.discriminator_init)

    def forward(self, x: Tensor, label: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        inputs = (x.flatten(1) + 1) / 2
        if label is not None and self.classes:
            inputs = torch.cat([inputs, one_hot(label, self.classes)], dim=1)
        return self.stack(inputs, generator)


class Family(BaseFamily[Config]):
    """“Generative adversarial nets”, Goodfellow et al. 2014.

    min_G max_D E[log D(x)] + E[log(1 − D(G(z)))] (equation 1), G playing −log D(G(z)) instead. Good for:
    the smallest game there is, and the mark that later designs have to beat.

    The paper sets the output's biases from each pixel's mean over the data. A family is built from
    the data's shape alone and never sees an example, so `output_bias` gives one number for all.
    """

    paper = "Goodfellow et al. 2014, arXiv:1406.2661"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loss = _shared.load_loss(config.loss)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,), self.config.latent_distribution),)

    def check(self, spec: DataSpec) -> None:
        _shared.check_image("gan", spec)
        _shared.check_classes("gan", self.config.conditional, spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        classes = len(spec.classes) if self.config.conditional else 0
        return {
            "generator": Generator(self.config, spec.shape, classes),
            "discriminator": Discriminator(self.config, spec.size, classes),
        }

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", ("discriminator",), self.config.discriminator),
            Player("generator", ("generator",), self.config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """Both gradients at the same point, from the same examples and fakes; both steps at the end."""
        return (
            Phase("discriminator", "discriminator", self._discriminator, latents="z", apply="end"),
            Phase("generator", "generator", self._generator, batch="same", latents="z", apply="end"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        label = condition["label"] if "label" in condition and self.config.conditional else None
        return networks["generator"](latents["z"] * truncation, label)

    # --- objectives ---

    def _fake(self, turn: Turn) -> Tensor:
        label = _shared.label_of(turn, self.config.conditional)
        return turn.once("fake", lambda: turn.networks["generator"](turn.latents["z"], label))

    def _judge(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        label = _shared.label_of(turn, self.config.conditional)
        return turn.networks["discriminator"](x, label, turn.generator(f"dropout/{purpose}"))

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        on_real = self._judge(turn, _shared.real_of(turn), "real")
        on_fake = self._judge(turn, self._fake(turn).detach(), "fake")
        loss = self._loss.critic(on_real, on_fake)
        return {"total": loss, "loss": loss, **_shared.critic_parts(on_real, on_fake)}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        on_real = None
        if self._loss.needs_real:
            on_real = _shared.without_graph(lambda: self._judge(turn, _shared.real_of(turn), "real"))
        on_fake = self._judge(turn, self._fake(turn), "fake")
        return {"total": self._loss.generator(on_real, on_fake), "fake": on_fake.detach().mean()}
