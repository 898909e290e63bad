"""WGAN: a critic without a sigmoid whose weights are clipped, trained many turns for each of the generator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Scheduled, State, Turn
from pipeline.families import _geometry, _shared
from pipeline.families._shared import Canon
from pipeline.networks import initialisation
from pipeline.networks.conditional import LabelVector
from pipeline.networks.perceptron import ReluPerceptron
from pipeline.networks.stacks import DownwardStack, StackPlan, UpwardStack
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec


class PlayerOptimiser(Optimiser):
    """RMSProp at 5e-5; momentum destabilises a critic that is clipped (section 4 of the paper)."""

    name: Literal["adam", "rmsprop", "sgd"] = "rmsprop"
    lr: Scheduled = 5e-5


class Config(Settings):
    """Arjovsky et al. 2017, the authors' main.py: DCGAN's networks for 64 px, batches of 64."""

    conditional: bool = Field(
        default=False, description="labels beside the noise, projection (perceptron: one-hot) in D"
    )
    architecture: Literal["strided", "perceptron"] = "strided"
    latent: int = Field(default=100, ge=1, description="numbers of noise")
    label_embedding: int = Field(default=32, ge=1, description="numbers a label becomes beside the noise")
    levels: int | None = Field(
        default=None, ge=1, le=10, description="strided: doublings; none: as many as leave `smallest`"
    )
    smallest: int = Field(
        default=3, ge=1, description="strided: shortest side of the smallest map, where levels is none"
    )
    generator_width: int = Field(default=64, ge=1, description="maps next to the output, or units a layer")
    critic_width: int = Field(default=64, ge=1, description="maps next to the input, or units a layer")
    hidden: int = Field(default=3, ge=1, description="perceptron: layers of so many units")
    critic_norm: Literal["batch", "layer", "none"] = Field(default="batch", description="strided")
    clip: float | None = Field(
        default=0.01, gt=0, description="every number of the critic within ±this before each turn"
    )
    critic_steps: int = Field(default=5, ge=1, description="turns of the critic a step")
    eager_steps: int = Field(default=100, ge=1, description="turns of the critic in the steps below")
    eager_first: int = Field(default=25, ge=0, description="so many first steps")
    eager_every: int | None = Field(default=500, ge=1, description="and every so many-th; none: no later ones")
    init_std: float | None = Field(default=0.02, gt=0, description="strided: N(0, std) for all weights; none: torch's")
    loss: _shared.LossChoice = Field(default={"name": "wasserstein"}, description="a file of pipeline/losses")
    penalty: _shared.PenaltyChoice | None = Field(default=None, description="on the critic; then clip is none")
    augment: _shared.AugmentChoice | None = Field(default=None, description="a file of pipeline/augmentation")
    generator: PlayerOptimiser = PlayerOptimiser()
    critic: PlayerOptimiser = PlayerOptimiser()

    @model_validator(mode="after")
    def _bound_once(self) -> Config:
        if self.penalty and self.clip is not None:
            raise ValueError("clip: the critic is bounded twice; set it to null beside a penalty, or drop the penalty")
        batch_norm = self.critic_norm == "batch" and self.architecture == "strided"
        _shared.check_penalty(self.penalty, batch_norm, "set critic_norm to layer or none")
        _shared.check_augment(self.augment, self.loss)
        return self


_RMS: dict[str, Any] = {"lr": 3e-4}
_SMALL: dict[str, Any] = {
    "conditional": True,
    "latent": 64,
    "critic_steps": 3,
    "eager_steps": 20,
    "eager_first": 2,
    "eager_every": None,
    "clip": 0.03,
    "generator": _RMS,
    "critic": _RMS,
}

PRESETS: dict[str, dict[str, Any]] = {
    "dcgan64": {},
    "mlp64": {"architecture": "perceptron"},
    "zoo": {**_SMALL, "generator_width": 16, "critic_width": 16},
    "smoke": {**_SMALL, "generator_width": 8, "critic_width": 8, "eager_steps": 5},
}

CANON: dict[str, Canon] = {
    "dcgan64": Canon("WGAN DCGAN-64", (3, 64, 64)),
    "mlp64": Canon("WGAN MLP-64 (ngf=ndf=64)", (3, 64, 64)),
}


class Generator(nn.Module):
    """Noise (n, latent) and label (n,) → (n, C, H, W); strided in [−1, 1], the perceptron unbounded."""

    def __init__(
        self, config: Config, stack: UpwardStack | ReluPerceptron, shape: tuple[int, ...], classes: int
    ) -> None:
        super().__init__()
        self.label = LabelVector(classes, "embedding", config.label_embedding)
        self.stack = stack
        self.shape = shape

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.stack(torch.cat([z, self.label(label, z)], dim=1)).view(-1, *self.shape)


class Critic(nn.Module):
    """x (n, C, H, W) and label (n,) → scores (n,); its weights are clipped in `advance`.

    The loop calls `advance` before each turn in which the critic is in training mode: before every step
    of its own, as main.py does, and before the generator's, which main.py leaves to the next step.
    """

    def __init__(self, stack: DownwardStack | ReluPerceptron, classes: int, clip: float | None) -> None:
        super().__init__()
        self.label = LabelVector(classes if isinstance(stack, ReluPerceptron) else 0)
        self.stack = stack
        self.clip = clip

    @torch.no_grad()
    def advance(self) -> None:
        """Every parameter, batch norm's among them, into ±clip."""
        if self.clip is not None:
            for parameter in self.parameters():
                parameter.clamp_(-self.clip, self.clip)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        if isinstance(self.stack, DownwardStack):
            return self.stack(x, label)
        return self.stack(torch.cat([x.flatten(1), self.label(label, x)], dim=1)).flatten()


class Family(BaseFamily[Config]):
    """“Wasserstein GAN”, Arjovsky et al. 2017.

    The critic f, kept in a compact set of weights, estimates the Wasserstein distance
    max_f E[f(x)] − E[f(G(z))] (equation 3) and G descends it. Good for: a loss that falls as samples get
    better; slow, since clipping starves f of capacity, which `wgan_gp` cures.
    """

    paper = "Arjovsky, Chintala, Bottou 2017, arXiv:1701.07875"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loss = _shared.load_loss(config.loss)
        self._penalty = _shared.load_penalty(config.penalty) if config.penalty else None
        self._augmentation = _shared.load_augmentation(config.augment)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,)),)

    def check(self, spec: DataSpec) -> None:
        _shared.check_image("wgan", spec)
        _shared.check_classes("wgan", self.config.conditional, spec)
        if self.config.architecture == "strided":
            _geometry.find_base("wgan", spec.resolution, self.config.levels, self.config.smallest)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        classes = len(spec.classes) if config.conditional else 0
        inputs = config.latent + (config.label_embedding if classes else 0)
        make = self._strided if config.architecture == "strided" else self._perceptron
        up, down = make(spec, classes, inputs)
        networks: dict[str, nn.Module] = {
            "generator": Generator(config, up, spec.shape, classes),
            "discriminator": Critic(down, classes, config.clip),
        }
        if config.init_std is not None and config.architecture == "strided":
            for network in networks.values():
                initialisation.normal(network, config.init_std)
        return networks

    def _strided(self, spec: DataSpec, classes: int, inputs: int) -> tuple[UpwardStack, DownwardStack]:
        config = self.config
        base, levels = _geometry.find_base("wgan", spec.resolution, config.levels, config.smallest)
        up = tuple(config.generator_width * 2**level for level in reversed(range(levels)))
        down = tuple(config.critic_width * 2**level for level in reversed(range(levels)))
        critic = StackPlan(base, down, spec.channels, config.critic_norm, False, classes)
        return UpwardStack(StackPlan(base, up, spec.channels), inputs), DownwardStack(critic)

    def _perceptron(self, spec: DataSpec, classes: int, inputs: int) -> tuple[ReluPerceptron, ReluPerceptron]:
        config = self.config
        up = ReluPerceptron(inputs, (config.generator_width,) * config.hidden, spec.size)
        return up, ReluPerceptron(spec.size + classes, (config.critic_width,) * config.hidden, 1)

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", ("discriminator",), self.config.critic),
            Player("generator", ("generator",), self.config.generator),
        )

    def critic_turns(self, state: State) -> int:
        """5, but 100 in the first 25 steps and in every 500th."""
        config = self.config
        later = config.eager_every is not None and state.step > 0 and state.step % config.eager_every == 0
        return config.eager_steps if state.step < config.eager_first or later else config.critic_steps

    def phases(self) -> tuple[Phase, ...]:
        """The critic on fresh batches, then G with noise of its own and the last batch's labels."""
        return (
            Phase("discriminator", "discriminator", self._critic, repeats=self.critic_turns),
            Phase("generator", "generator", self._generator, batch="same"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """The perceptron has no output activation: what leaves [−1, 1] is cut here, and only here."""
        label = condition["label"] if "label" in condition and self.config.conditional else None
        return networks["generator"](latents["z"] * truncation, label).clamp(-1, 1)

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        return _shared.augment_state(self._augmentation)

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        _shared.move_augment(self._augmentation, state, observed)

    # --- objectives ---

    def _score(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        label = _shared.label_of(turn, self.config.conditional)
        return turn.networks["discriminator"](_shared.shown(self._augmentation, turn, x, purpose), label)

    def _make(self, turn: Turn) -> Tensor:
        return turn.networks["generator"](turn.latents["z"], _shared.label_of(turn, self.config.conditional))

    def _critic(self, turn: Turn) -> dict[str, Tensor]:
        real, fake = _shared.real_of(turn), _shared.without_graph(lambda: self._make(turn))
        on_real, on_fake = self._score(turn, real, "real"), self._score(turn, fake, "fake")
        loss = self._loss.critic(on_real, on_fake)
        parts = {"total": loss, "loss": loss, **_shared.critic_means(on_real, on_fake)}
        parts |= _shared.sign_part(self._augmentation, turn, on_real)
        if self._penalty is not None:
            generator = turn.generator("penalty")
            penalty = self._penalty(lambda x: self._score(turn, x, "penalty"), real, fake, generator)
            parts |= {"total": loss + penalty, "penalty": penalty}
        return parts

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        on_real = None
        if self._loss.needs_real:
            on_real = _shared.without_graph(lambda: self._score(turn, _shared.real_of(turn), "real"))
        on_fake = self._score(turn, self._make(turn), "fake")
        return {"total": self._loss.generator(on_real, on_fake), "fake": on_fake.detach().mean()}
