"""WGAN-GP: a Wasserstein critic held by a gradient penalty, on residual or plain networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Ramp, Scheduled, Turn
from pipeline.families import _geometry, _shared
from pipeline.families._shared import Canon
from pipeline.networks import initialisation
from pipeline.networks.pre_activation import Upsampling
from pipeline.networks.residual import (
    ResidualCritic,
    ResidualCriticPlan,
    ResidualGenerator,
    ResidualPlan,
    glorot_linear,
)
from pipeline.networks.strided import StridedCritic, StridedGenerator, StridedPlan
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec


class PlayerOptimiser(Optimiser):
    """Adam (0, 0.9), 2e-4 → 0 over 100,000 steps of five batches of 64."""

    lr: Scheduled = Ramp(start=2e-4, end=0.0, examples=32_000_000)
    beta1: Scheduled = 0.0
    beta2: Scheduled = 0.9


class Config(Settings):
    """Gulrajani et al. 2017; the defaults are the residual networks for CIFAR-10.

    residual: one doubling between the generator's widths; the critic halves once a width
        (`critic_opening: conv` does not halve). H×W must be divisible by all of it.
    strided: one doubling after each of the generator's widths, the critic mirrors them where
        `critic_widths` is its reverse; any H×W, odd sizes are rounded up and cut.
    """

    conditional: bool = Field(default=False, description="batch norm per class in G, a second head in the critic")
    architecture: Literal["residual", "strided"] = "residual"
    latent: int = Field(default=128, ge=1, description="numbers of noise")
    generator_widths: tuple[_shared.Width, ...] = Field(default=(128, 128, 128, 128), min_length=1)
    critic_widths: tuple[_shared.Width, ...] = Field(default=(128, 128), min_length=1)
    critic_plain: int = Field(default=2, ge=0, description="residual: blocks that keep the resolution")
    critic_opening: Literal["block", "conv"] = Field(default="block", description="residual: the critic's first layer")
    critic_head: Literal["mean", "flat"] = Field(default="mean", description="residual: what the last layer reads")
    block_bias: bool = Field(default=True, description="residual: whether a block's first convolution has one")
    upsampling: Upsampling = Field(default="nearest", description="residual: how G doubles")
    rectified_shortcut: bool = Field(
        default=False,
        description="residual: the critic's shortcuts see relu(x), as an in-place relu in mimicry makes them",
    )
    generator_norm: Literal["fused", "batch", "none"] = Field(
        default="fused", description="fused: batch norm with the two idle parameters that the reference's has"
    )
    first_norm: Literal["unit", "channel"] = Field(default="channel", description="strided: of the dense layer")
    critic_norm: Literal["none", "layer"] = Field(default="none", description="never batch: the penalty is per example")
    output: Literal["tanh", "sigmoid"] = Field(default="tanh", description="sigmoid: the networks work in [0, 1]")
    init_std: float | None = Field(default=None, gt=0, description="N(0, std); none: uniform of He's variance")
    n_critic: int = Field(default=5, ge=1, description="critic steps a generator step, each on a fresh batch")
    loss: _shared.LossChoice = Field(default={"name": "wasserstein"}, description="a file of pipeline/losses")
    penalty: _shared.PenaltyChoice = Field(
        default={"name": "gradient_penalty"}, description="a file of pipeline/penalties"
    )
    class_weight: float = Field(default=1.0, ge=0, description="of the critic's cross-entropy on reals")
    generator_class_weight: float = Field(default=0.1, ge=0, description="of the generator's on its fakes")
    generator: PlayerOptimiser = PlayerOptimiser()
    critic: PlayerOptimiser = PlayerOptimiser()


_STEADY: dict[str, Any] = {"lr": 1e-4, "beta1": 0.5, "beta2": 0.9}
_HALVED: dict[str, Any] = {"start": 2e-4, "end": 0.0, "examples": 32_000_000}
_LIVELY: dict[str, Any] = {"lr": 5e-4, "beta1": 0.0, "beta2": 0.9}
_STEADY_PAIR: dict[str, Any] = {"generator": _STEADY, "critic": _STEADY}

PRESETS: dict[str, dict[str, Any]] = {
    "cifar10_residual": {},
    "cifar10_acgan": {"conditional": True},
    "cifar10_strided": {
        "architecture": "strided",
        "generator_widths": [512, 256, 128],
        "critic_widths": [128, 256, 512],
        "first_norm": "unit",
        **_STEADY_PAIR,
    },
    "mnist_strided": {
        "architecture": "strided",
        "generator_widths": [256, 128, 64],
        "critic_widths": [64, 128, 256],
        "generator_norm": "none",
        "output": "sigmoid",
        **_STEADY_PAIR,
    },
    "images64_residual": {
        "generator_widths": [512, 512, 256, 128, 64],
        "critic_widths": [64, 128, 256, 512, 512],
        "critic_plain": 0,
        "critic_opening": "conv",
        "critic_head": "flat",
        "critic_norm": "layer",
        "block_bias": False,
        "generator": {"lr": 1e-4, "beta1": 0.0, "beta2": 0.9},
        "critic": {"lr": 1e-4, "beta1": 0.0, "beta2": 0.9},
    },
    "images64_strided": {
        "architecture": "strided",
        "generator_widths": [512, 256, 128, 64],
        "critic_widths": [64, 128, 256, 512],
        "critic_norm": "layer",
        "init_std": 0.02,
        **_STEADY_PAIR,
    },
    # mimicry's trainer plays 100,000 steps of five batches of 64 and has as many samples as reals.
    "mimicry32": {
        "generator_norm": "batch",
        "generator_widths": [256, 256, 256, 256],
        "upsampling": "bilinear",
        "rectified_shortcut": True,
        "generator": {"lr": _HALVED, "beta1": 0.0, "beta2": 0.9},
        "critic": {"lr": _HALVED, "beta1": 0.0, "beta2": 0.9},
    },
    "small": {
        "generator_norm": "batch",
        "architecture": "strided",
        "latent": 64,
        "generator_widths": [64, 32],
        "critic_widths": [32, 64],
        "n_critic": 3,
        "generator": _LIVELY,
        "critic": _LIVELY,
    },
    "zoo": {
        "generator_norm": "batch",
        "conditional": True,
        "architecture": "strided",
        "latent": 64,
        "generator_widths": [64, 32, 16],
        "critic_widths": [16, 32, 64],
        "n_critic": 3,
        "generator": _LIVELY,
        "critic": _LIVELY,
    },
    "smoke": {
        "generator_norm": "batch",
        "conditional": True,
        "architecture": "strided",
        "latent": 32,
        "generator_widths": [32, 16],
        "critic_widths": [16, 32],
        "n_critic": 2,
        "generator": _LIVELY,
        "critic": _LIVELY,
    },
}

CANON: dict[str, Canon] = {
    "cifar10_residual": Canon("WGAN-GP CIFAR ResNet uncond", (3, 32, 32)),
    "cifar10_acgan": Canon("WGAN-GP CIFAR ResNet ACGAN", (3, 32, 32), 10),
    "cifar10_strided": Canon("WGAN-GP CIFAR DCGAN-style DIM128", (3, 32, 32)),
    "mnist_strided": Canon("WGAN-GP MNIST", (1, 28, 28)),
    "images64_residual": Canon("WGAN-GP 64 px “Good” ResNet", (3, 64, 64)),
    "images64_strided": Canon("WGAN-GP 64 px DCGAN", (3, 64, 64)),
    "mimicry32": Canon("WGAN-GP 32 px (mimicry variant)", (3, 32, 32)),
}


class Generator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W) in [−1, 1]."""

    def __init__(self, stack: ResidualGenerator | StridedGenerator, sigmoid: bool) -> None:
        super().__init__()
        self.stack = stack
        self.scale = 0.5 if sigmoid else 1.0

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        # A sigmoid's [0, 1] carried to [−1, 1] is 2σ(a) − 1 = tanh(a/2).
        return torch.tanh(self.scale * self.stack(z, label))


class Critic(nn.Module):
    """x (n, C, H, W) → (scores (n,), logits of its class (n, classes) or None)."""

    def __init__(self, stack: ResidualCritic | StridedCritic, classes: int, sigmoid: bool) -> None:
        super().__init__()
        self.stack = stack
        self.sigmoid = sigmoid
        self.score = glorot_linear(stack.features, 1)
        self.classifier = glorot_linear(stack.features, classes) if classes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.stack((x + 1) / 2 if self.sigmoid else x)
        logits = self.classifier(features) if self.classifier is not None else None
        return self.score(features).flatten(), logits


class Family(BaseFamily[Config]):
    """“Improved training of Wasserstein GANs”, Gulrajani et al. 2017.

    The critic minimises E[D(G(z))] − E[D(x)] + λ E[(‖∇D(x̂)‖₂ − 1)²] (equation 3), G −E[D(G(z))]. Good for:
    hard data and odd shapes, at five critic steps with a double backward for each of G's.

    One batch size serves both players: the reference's residual generator takes twice the critic's.
    """

    paper = "Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville 2017, arXiv:1704.00028"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loss = _shared.load_loss(config.loss)
        self._penalty = _shared.load_penalty(config.penalty)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,)),)

    @property
    def _critic_halvings(self) -> int:
        return len(self.config.critic_widths) - (self.config.critic_opening == "conv")

    def check(self, spec: DataSpec) -> None:
        config = self.config
        _shared.check_image("wgan_gp", spec)
        _shared.check_classes("wgan_gp", config.conditional, spec)
        if config.architecture == "residual":
            _geometry.check_doublings("wgan_gp", "generator_widths", spec.resolution, len(config.generator_widths) - 1)
            _geometry.check_doublings("wgan_gp", "critic_widths", spec.resolution, self._critic_halvings)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        classes = len(spec.classes) if self.config.conditional else 0
        sigmoid = self.config.output == "sigmoid"
        make = self._residual if self.config.architecture == "residual" else self._strided
        generator, critic = make(spec, classes)
        networks: dict[str, nn.Module] = {
            "generator": Generator(generator, sigmoid),
            "discriminator": Critic(critic, classes, sigmoid),
        }
        if self.config.init_std is not None:
            for network in networks.values():
                initialisation.normal(network, self.config.init_std)
        return networks

    def _residual(self, spec: DataSpec, classes: int) -> tuple[ResidualGenerator, ResidualCritic]:
        config = self.config
        height, width = spec.resolution
        doublings = len(config.generator_widths) - 1
        base = (height // 2**doublings, width // 2**doublings)
        generator = ResidualPlan(
            base,
            config.generator_widths,
            spec.channels,
            config.generator_norm,
            classes,
            config.block_bias,
            config.upsampling,
        )
        critic = ResidualCriticPlan(
            base=(height // 2**self._critic_halvings, width // 2**self._critic_halvings),
            widths=config.critic_widths,
            channels=spec.channels,
            plain=config.critic_plain,
            opening=config.critic_opening,
            head=config.critic_head,
            norm=config.critic_norm,
            bias=config.block_bias,
            rectified_shortcut=config.rectified_shortcut,
        )
        return ResidualGenerator(generator, config.latent), ResidualCritic(critic)

    def _strided(self, spec: DataSpec, classes: int) -> tuple[StridedGenerator, StridedCritic]:
        config = self.config
        height, width = spec.resolution
        generator = StridedPlan(
            (height, width),
            config.generator_widths,
            spec.channels,
            config.generator_norm,
            config.first_norm,
            classes,
        )
        critic = StridedPlan((height, width), config.critic_widths[::-1], spec.channels, config.critic_norm)
        return StridedGenerator(generator, config.latent), StridedCritic(critic)

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", ("discriminator",), self.config.critic),
            Player("generator", ("generator",), self.config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """n_critic critic steps on fresh batches, then G with noise of its own and the last batch's labels."""
        return (
            Phase("discriminator", "discriminator", self._critic, repeats=self.config.n_critic),
            Phase("generator", "generator", self._generator, batch="same"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        label = condition["label"] if "label" in condition and self.config.conditional else None
        return networks["generator"](latents["z"] * truncation, label)

    # --- objectives ---

    def _critic(self, turn: Turn) -> dict[str, Tensor]:
        network, label = turn.networks["discriminator"], _shared.label_of(turn, self.config.conditional)
        real = _shared.real_of(turn)
        fake = _shared.without_graph(lambda: turn.networks["generator"](turn.latents["z"], label))
        on_real, logits = network(real)
        on_fake, _ = network(fake)
        loss = self._loss.critic(on_real, on_fake)
        penalty = self._penalty(lambda x: network(x)[0], real, fake, turn.generator("penalty"))
        total = loss + penalty
        parts = {"loss": loss, "penalty": penalty, **_shared.critic_means(on_real, on_fake)}
        if label is not None:
            parts["class"] = F.cross_entropy(logits, label)
            parts["class_accuracy"] = (logits.argmax(1) == label).float().mean()
            total = total + self.config.class_weight * parts["class"]
        return {"total": total, **parts}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        network, label = turn.networks["discriminator"], _shared.label_of(turn, self.config.conditional)
        on_real = _shared.without_graph(lambda: network(_shared.real_of(turn))[0]) if self._loss.needs_real else None
        on_fake, logits = network(turn.networks["generator"](turn.latents["z"], label))
        total = self._loss.generator(on_real, on_fake)
        parts = {"fake": on_fake.detach().mean()}
        if label is not None:
            parts["class"] = F.cross_entropy(logits, label)
            parts["class_accuracy"] = (logits.argmax(1) == label).float().mean()
            total = total + self.config.generator_class_weight * parts["class"]
        return {"total": total, **parts}
