"""WGAN: a critic without a sigmoid whose weights are clipped, trained many turns for each of the generator's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Networks, Optimiser, State
from pipeline.families import _choices, _geometry
from pipeline.families._adversarial import LatentFamily
from pipeline.families._choices import LossChoice
from pipeline.families._settings import StackSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.wgan import ClippedCritic, EmbeddingGenerator
from pipeline.networks.blocks.perceptron import ReluPerceptron
from pipeline.networks.blocks.strided_stacks import DownwardStack, StackPlan, UpwardStack
from pipeline.networks.layers import init
from pipeline.types import Batch, DataSpec

RMSPROP = Optimiser(name="rmsprop", lr=5e-5)
"""Momentum destabilises a critic that is clipped (section 4 of the paper)."""


class Config(StackSettings):
    """Arjovsky et al. 2017, the authors' main.py: DCGAN's networks for 64 px, batches of 64."""

    conditional: bool = Field(
        default=False, description="labels beside the noise, projection (perceptron: one-hot) in D"
    )
    architecture: Literal["strided", "perceptron"] = "strided"
    label_embedding: int = Field(default=32, ge=1, description="numbers a label becomes beside the noise")
    hidden: int = Field(default=3, ge=1, description="perceptron: hidden layers")
    discriminator_norm: Literal["batch", "layer", "none"] = Field(default="batch", description="strided")
    clip: float | None = Field(
        default=0.01, gt=0, description="every number of the critic within ±this before each turn"
    )
    discriminator_steps: int = Field(default=5, ge=1, description="turns of the critic a step")
    eager_steps: int = Field(default=100, ge=1, description="turns of the critic in the steps below")
    eager_first: int = Field(default=25, ge=0, description="how many first steps have those turns")
    eager_every: int | None = Field(default=500, ge=1, description="and again every so often; none: no later ones")
    init_std: float | None = Field(default=0.02, gt=0, description="strided: N(0, std) for all weights; none: torch's")
    loss: LossChoice = Field(default={"name": "wasserstein"}, description="a file of pipeline/losses")
    generator: Optimiser = RMSPROP
    discriminator: Optimiser = RMSPROP

    @model_validator(mode="after")
    def _bound_once(self) -> Config:
        if self.penalties and self.clip is not None:
            raise ValueError("clip: the critic is bounded twice; set it to null beside penalties, or drop these")
        batch_norm = self.discriminator_norm == "batch" and self.architecture == "strided"
        _choices.check_penalties(self.penalties, batch_norm, "set discriminator_norm to layer or none")
        return self

    @property
    def repeats(self) -> bool:
        return self.discriminator_steps > 1 or self.eager_first > 0 or self.eager_every is not None


_SMALL: dict[str, Any] = {
    "conditional": True,
    "latent": 64,
    "discriminator_steps": 3,
    "eager_steps": 20,
    "eager_first": 2,
    "eager_every": None,
    "clip": 0.03,
    **both(lr=3e-4),
}

PRESETS: dict[str, dict[str, Any]] = {
    "dcgan64": {},
    "mlp64": {"architecture": "perceptron"},
    "zoo": {**_SMALL, "generator_width": 16, "discriminator_width": 16},
    "smoke": {**_SMALL, "generator_width": 8, "discriminator_width": 8, "eager_steps": 5},
}

CANON: dict[str, Canon] = {
    "dcgan64": Canon("WGAN DCGAN-64", (3, 64, 64), counts=(3_576_704, 2_765_568)),
    "mlp64": Canon("WGAN MLP-64 (ngf=ndf=64)", (3, 64, 64), counts=(813_504, 794_881)),
}


class Family(LatentFamily[Config]):
    """“Wasserstein GAN”, Arjovsky et al. 2017.

    The critic f, kept in a compact set of weights, estimates the Wasserstein distance
    max_f E[f(x)] − E[f(G(z))] (equation 3) and G descends it. Good for: a loss that falls as samples get
    better; slow, since clipping starves f of capacity, which `wgan_gp` cures.
    """

    paper = "Arjovsky, Chintala, Bottou 2017, arXiv:1701.07875"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        if self.config.architecture == "strided":
            _geometry.find_base(self.name, spec.resolution, self.config.levels, self.config.smallest)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        classes = self.count_classes(spec)
        inputs = config.latent + (config.label_embedding if classes else 0)
        make = self._strided if config.architecture == "strided" else self._perceptron
        up, down = make(spec, classes, inputs)
        networks: dict[str, nn.Module] = {
            "generator": EmbeddingGenerator(up, spec.shape, classes, config.label_embedding),
            "discriminator": ClippedCritic(down, classes, config.clip),
        }
        if config.init_std is not None and config.architecture == "strided":
            init.normal(config.init_std, *networks.values())
        return networks

    def _strided(self, spec: DataSpec, classes: int, inputs: int) -> tuple[UpwardStack, DownwardStack]:
        config = self.config
        base, levels = _geometry.find_base(self.name, spec.resolution, config.levels, config.smallest)
        up = tuple(config.generator_width * 2**level for level in reversed(range(levels)))
        down = tuple(config.discriminator_width * 2**level for level in reversed(range(levels)))
        critic = StackPlan(base, down, spec.channels, config.discriminator_norm, False, classes)
        return UpwardStack(StackPlan(base, up, spec.channels), inputs), DownwardStack(critic)

    def _perceptron(self, spec: DataSpec, classes: int, inputs: int) -> tuple[ReluPerceptron, ReluPerceptron]:
        config = self.config
        up = ReluPerceptron(inputs, (config.generator_width,) * config.hidden, spec.size)
        return up, ReluPerceptron(spec.size + classes, (config.discriminator_width,) * config.hidden, 1)

    @property
    def discriminator_turns(self) -> Callable[[State], int]:
        return self.critic_turns

    def critic_turns(self, state: State) -> int:
        """5, but 100 in the first 25 steps and in every 500th."""
        config = self.config
        later = config.eager_every is not None and state.step > 0 and state.step % config.eager_every == 0
        return config.eager_steps if state.step < config.eager_first or later else config.discriminator_steps

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """The perceptron has no output activation: what leaves [−1, 1] is cut here, and only here."""
        return super().sample(networks, latents, condition, truncation).clamp(-1, 1)
