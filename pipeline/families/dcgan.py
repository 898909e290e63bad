"""DCGAN: a pair of strided convolutional stacks, from 2016's canon to a small one that digits need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Scheduled, Turn
from pipeline.families import _shared
from pipeline.networks import initialisation
from pipeline.networks.stacks import DownwardStack, StackPlan, UpwardStack
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec


class PlayerOptimiser(Optimiser):
    """Adam as in the paper: 2e-4, (0.5, 0.999)."""

    lr: Scheduled = 2e-4
    beta1: Scheduled = 0.5
    beta2: Scheduled = 0.999


class Config(Settings):
    """Radford et al. 2016 as pytorch/examples has it; the data's H×W must be base·2^k.

    Maps double towards the smallest resolution: width, 2·width, … up to max_width.
    """

    conditional: bool = Field(default=False, description="labels enter both networks")
    latent: int = Field(default=100, ge=1, description="numbers of noise")
    latent_distribution: Literal["normal", "uniform"] = "normal"
    levels: int | None = Field(default=None, ge=1, le=10, description="doublings k; none: as many as leave `smallest`")
    smallest: int = Field(default=3, ge=1, description="shortest side of the smallest map, where levels is none")
    generator_width: int = Field(default=64, ge=1, description="maps next to the output")
    discriminator_width: int = Field(default=64, ge=1, description="maps next to the input")
    max_width: int = Field(default=1024, ge=1)
    upsampling: Literal["transposed", "nearest"] = "transposed"
    generator_norm: Literal["batch", "none"] = "batch"
    discriminator_norm: Literal["batch", "layer", "none"] = "batch"
    bias: bool = Field(default=False, description="convolutions have one; pointless before batch norm")
    init_std: float | None = Field(default=0.02, gt=0, description="N(0, std) for all weights; none: torch's defaults")
    label_in_generator: Literal["embedding", "norm"] = Field(
        default="embedding", description="joined to the noise, or a gain and bias of batch norm per class"
    )
    label_embedding: int = Field(default=32, ge=1, description="numbers a label becomes beside the noise")
    loss: _shared.LossChoice = Field(default={"name": "non_saturating"}, description="a file of pipeline/losses")
    penalty: _shared.PenaltyChoice | None = Field(default=None, description="on the discriminator, such as r1")
    penalty_every: int = Field(
        default=1, ge=1, description="above 1: a lazy phase of its own, its gradient times this (StyleGAN2)"
    )
    share_fakes: bool = Field(default=True, description="the generator answers for the fakes that D has just seen")
    generator: PlayerOptimiser = PlayerOptimiser()
    discriminator: PlayerOptimiser = PlayerOptimiser()


PRESETS: dict[str, dict[str, Any]] = {
    "faces64": {},
    "digits": {
        "conditional": True,
        "latent": 64,
        "generator_width": 16,
        "discriminator_width": 32,
        "upsampling": "nearest",
        "label_in_generator": "norm",
        "discriminator_norm": "none",
        "bias": True,
        "init_std": None,
        "penalty": {"name": "r1", "gamma": 1.0},
        "penalty_every": 4,
        "generator": {"lr": 1e-3, "beta1": 0.0, "beta2": 0.99},
        "discriminator": {"lr": 1e-3, "beta1": 0.0, "beta2": 0.99},
    },
}


class Generator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W) in [−1, 1]."""

    def __init__(self, config: Config, plan: StackPlan, classes: int) -> None:
        super().__init__()
        embeds = classes > 0 and config.label_in_generator == "embedding"
        self.embedding = nn.Embedding(classes, config.label_embedding) if embeds else None
        inputs = config.latent + (config.label_embedding if embeds else 0)
        self.stack = UpwardStack(plan, inputs, config.upsampling)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is not None and label is not None:
            z = torch.cat([z, self.embedding(label)], dim=1)
        return self.stack(z, label)


class Family(BaseFamily[Config]):
    """“Unsupervised representation learning with deep convolutional GANs”, Radford et al. 2016."""

    paper = "Radford, Metz, Chintala 2016, arXiv:1511.06434"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loss = _shared.load_loss(config.loss)
        self._penalty = _shared.load_penalty(config.penalty) if config.penalty else None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,), self.config.latent_distribution),)

    def check(self, spec: DataSpec) -> None:
        _shared.check_image("dcgan", spec)
        _shared.check_classes("dcgan", self.config.conditional, spec)
        _shared.find_base("dcgan", spec.resolution, self.config.levels, self.config.smallest)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        base, levels = _shared.find_base("dcgan", spec.resolution, config.levels, config.smallest)
        classes = len(spec.classes) if config.conditional else 0

        def widths(last: int, count: int) -> tuple[int, ...]:
            return tuple(min(last * 2**above, config.max_width) for above in reversed(range(count)))

        # Doubling by repetition needs maps at full resolution too; a transposed convolution makes the image there.
        upward = widths(config.generator_width, levels + (config.upsampling == "nearest"))
        by_norm = classes if config.label_in_generator == "norm" else 0
        g_plan = StackPlan(base, upward, spec.channels, config.generator_norm, config.bias, by_norm)
        downward = widths(config.discriminator_width, levels)
        d_plan = StackPlan(base, downward, spec.channels, config.discriminator_norm, config.bias, classes)
        networks: dict[str, nn.Module] = {
            "generator": Generator(config, g_plan, classes),
            "discriminator": DownwardStack(d_plan),
        }
        if config.init_std is not None:
            for network in networks.values():
                initialisation.normal(network, config.init_std)
        return networks

    def players(self) -> tuple[Player, ...]:
        every = self.config.penalty_every if self._penalty else 1
        return (
            Player("discriminator", ("discriminator",), _shared.lazy(self.config.discriminator, every)),
            Player("generator", ("generator",), self.config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """D, its lazy penalty, G; with shared fakes all see the same noise."""
        noise = "z" if self.config.share_fakes else ""
        every = self.config.penalty_every
        discriminator = Phase("discriminator", "discriminator", self._discriminator, latents=noise)
        generator = Phase("generator", "generator", self._generator, batch="same", latents=noise)
        if self._penalty is None or every == 1:
            return (discriminator, generator)
        penalty = Phase(
            "penalty", "discriminator", self._lazy_penalty, batch="same", latents=noise, every=every, gain=every
        )
        return (discriminator, penalty, generator)

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        label = condition["label"] if "label" in condition and self.config.conditional else None
        return networks["generator"](latents["z"] * truncation, label)

    # --- objectives ---

    def _label(self, turn: Turn) -> Tensor | None:
        return _shared.label_of(turn, self.config.conditional)

    def _make(self, turn: Turn) -> Tensor:
        return turn.networks["generator"](turn.latents["z"], self._label(turn))

    def _fake(self, turn: Turn) -> Tensor:
        """Fakes for D, cut from G; the graph is kept for G's own phase where it will answer for them."""
        if self.config.share_fakes:
            return turn.once("fake", lambda: self._make(turn)).detach()
        return _shared.without_graph(lambda: self._make(turn))

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        network, label = turn.networks["discriminator"], self._label(turn)
        real, fake = _shared.real_of(turn), self._fake(turn)
        # Two passes, so that batch norm sees reals and fakes apart.
        on_real, on_fake = network(real, label), network(fake, label)
        loss = self._loss.critic(on_real, on_fake)
        parts = {"total": loss, "loss": loss, **_shared.critic_parts(on_real, on_fake)}
        if self._penalty is not None and self.config.penalty_every == 1:
            penalty = self._penalise(turn, real, fake)
            parts |= {"total": loss + penalty, "penalty": penalty}
        return parts

    def _penalise(self, turn: Turn, real: Tensor, fake: Tensor) -> Tensor:
        assert self._penalty is not None
        network, label = turn.networks["discriminator"], self._label(turn)
        return self._penalty(lambda x: network(x, label), real, fake, turn.generator("penalty"))

    def _lazy_penalty(self, turn: Turn) -> dict[str, Tensor]:
        assert self._penalty is not None
        real = _shared.real_of(turn)
        penalty = self._penalise(turn, real, self._fake(turn) if self._penalty.needs_fake else real)
        return {"total": penalty, "penalty": penalty}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        network, label = turn.networks["discriminator"], self._label(turn)
        fake = turn.once("fake", lambda: self._make(turn)) if self.config.share_fakes else self._make(turn)
        on_real = (
            _shared.without_graph(lambda: network(_shared.real_of(turn), label)) if self._loss.needs_real else None
        )
        on_fake = network(fake, label)
        return {"total": self._loss.generator(on_real, on_fake), "fake": on_fake.detach().mean()}
