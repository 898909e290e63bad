"""InfoGAN: some of the noise is a code, and a recogniser on the critic's trunk must read it off the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Scheduled, State, Turn
from pipeline.families import _geometry, _shared
from pipeline.families._shared import Canon
from pipeline.networks import initialisation
from pipeline.networks.coded_pair import CodedGenerator, Recogniser, TrunkDiscriminator
from pipeline.networks.dense_ended import DensePlan
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec


class DiscriminatorOptimiser(Optimiser):
    """Adam 2e-4, (0.5, 0.999); it moves the recogniser too."""

    lr: Scheduled = 2e-4
    beta1: Scheduled = 0.5


class GeneratorOptimiser(DiscriminatorOptimiser):
    """Adam 1e-3."""

    lr: Scheduled = 1e-3


class Config(Settings):
    """Chen et al. 2016 for MNIST, as the authors' run_mnist_exp.py has it; H×W must be base·2^k."""

    conditional: bool = Field(default=False, description="labels, one-hot, beside every layer's input too")
    latent: int = Field(default=62, ge=1, description="numbers of noise that no one reads, uniform")
    categories: int = Field(default=10, ge=0, description="values of the categorical code; 0: none")
    codes: int = Field(default=2, ge=0, description="continuous codes, uniform over (−1, 1)")
    generator_width: int = Field(default=64, ge=1, description="maps next to the output")
    discriminator_width: int = Field(default=64, ge=1, description="maps next to the input")
    dense: int = Field(default=1024, ge=1, description="units of the dense layers")
    recogniser_width: int = Field(default=128, ge=1, description="units between the trunk and the codes")
    levels: int | None = Field(default=None, ge=1, le=10, description="doublings; none: as many as leave `smallest`")
    smallest: int = Field(default=3, ge=1, description="shortest side of the smallest map, where levels is none")
    slope: float = Field(default=0.01, ge=0, lt=1, description="of D's leaky relu; the paper says 0.1, its code 0.01")
    init_std: float | None = Field(default=0.02, gt=0, description="N(0, std) for all weights; none: torch's defaults")
    categorical_weight: float = Field(default=1.0, ge=0, description="λ of the categorical code's information")
    continuous_weight: float = Field(default=1.0, ge=0, description="λ of the continuous codes'; the paper says 0.1")
    loss: _shared.LossChoice = Field(default={"name": "non_saturating"}, description="a file of pipeline/losses")
    penalty: _shared.PenaltyChoice | None = Field(default=None, description="on the discriminator, at every turn")
    augment: _shared.AugmentChoice | None = Field(default=None, description="a file of pipeline/augmentation")
    generator: GeneratorOptimiser = GeneratorOptimiser()
    discriminator: DiscriminatorOptimiser = DiscriminatorOptimiser()

    @model_validator(mode="after")
    def _reads_something(self) -> Config:
        if not self.codes and self.categories < 2:
            raise ValueError(
                "categories: with fewer than 2 and no continuous codes there is nothing to read; take dcgan"
            )
        if self.categories == 1:
            raise ValueError("categories: 1 is not allowed; one value carries no information, set 0 or 2 and more")
        _shared.check_penalty(self.penalty, True, "take r1")
        _shared.check_augment(self.augment, self.loss)
        return self


# Short trainings need less weight on the codes: at 1, trunk and G agree on a faint pattern before G makes images.
_SMALL: dict[str, Any] = {
    "conditional": True,
    "dense": 256,
    "recogniser_width": 64,
    "slope": 0.2,
    "categorical_weight": 0.2,
    "continuous_weight": 0.1,
    "discriminator": {"lr": 2e-3},
}

PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {},
    "zoo": {**_SMALL, "generator_width": 16, "discriminator_width": 16},
    "smoke": {**_SMALL, "latent": 16, "generator_width": 8, "discriminator_width": 8, "dense": 64},
}

CANON: dict[str, Canon] = {"mnist": Canon("InfoGAN MNIST", (1, 28, 28))}


class Family(BaseFamily[Config]):
    """“InfoGAN: interpretable representation learning by information maximizing GANs”, Chen et al. 2016.

    min_{G,Q} max_D V(D, G) − λ L_I(G, Q), with L_I = E[log Q(c|G(z, c))] + H(c) ≤ I(c; G(z, c)) (equations
    5 and 6): a cross-entropy for the categorical code, a Gaussian of deviation 1 for the others. The
    discriminator's player owns Q, and L_I is in both players' losses. Good for: factors of variation
    without labels (`code_traversal`).
    """

    paper = "Chen, Duan, Houthooft, Schulman, Sutskever, Abbeel 2016, arXiv:1606.03657"

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
        config = self.config
        found = [Latent("z", (config.latent,), "uniform")]
        if config.categories:
            found.append(Latent("category", (config.categories,), "categorical"))
        if config.codes:
            found.append(Latent("code", (config.codes,), "uniform"))
        return tuple(found)

    def check(self, spec: DataSpec) -> None:
        _shared.check_image("infogan", spec)
        _shared.check_classes("infogan", self.config.conditional, spec)
        _geometry.find_base("infogan", spec.resolution, self.config.levels, self.config.smallest)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        (height, width), levels = _geometry.find_base("infogan", spec.resolution, config.levels, config.smallest)
        classes = len(spec.classes) if config.conditional else 0

        def plan(last: int) -> DensePlan:
            widths = tuple(last * 2**level for level in reversed(range(levels)))
            return DensePlan(
                (height, width),
                widths,
                spec.channels,
                (config.dense,),
                4,
                bias=True,
                joined=classes,
                slope=config.slope,
                places_first=True,
            )

        inputs = sum(latent.shape[0] for latent in self.latents)
        networks: dict[str, nn.Module] = {
            "generator": CodedGenerator(plan(config.generator_width), inputs, classes),
            "discriminator": TrunkDiscriminator(plan(config.discriminator_width), classes),
            "recogniser": Recogniser(
                config.dense, config.recogniser_width, config.categories, config.codes, config.slope
            ),
        }
        if config.init_std is not None:
            for network in networks.values():
                initialisation.normal(network, config.init_std)
        return networks

    def players(self) -> tuple[Player, ...]:
        return (
            Player("discriminator", ("discriminator", "recogniser"), self.config.discriminator),
            Player("generator", ("generator",), self.config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """D with Q, then G; each with noise and codes of its own."""
        return (
            Phase("discriminator", "discriminator", self._discriminator),
            Phase("generator", "generator", self._generator, batch="same"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        label = condition["label"] if "label" in condition and self.config.conditional else None
        return networks["generator"](self._joined(latents) * truncation, label)

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        return _shared.augment_state(self._augmentation)

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        _shared.move_augment(self._augmentation, state, observed)

    # --- objectives ---

    def _joined(self, latents: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([latents[latent.name] for latent in self.latents], dim=1)

    def _make(self, turn: Turn) -> Tensor:
        label = _shared.label_of(turn, self.config.conditional)
        return turn.networks["generator"](self._joined(turn.latents), label)

    def _look(self, turn: Turn, x: Tensor, purpose: str) -> tuple[Tensor, Tensor]:
        """Logits of images, and the features that the recogniser reads."""
        seen = _shared.shown(self._augmentation, turn, x, purpose)
        return turn.networks["discriminator"](seen, _shared.label_of(turn, self.config.conditional))

    def _information(self, turn: Turn, features: Tensor) -> dict[str, Tensor]:
        """L_I of each kind of code in nats, and their weighted sum."""
        logits, means = turn.networks["recogniser"](features)
        parts: dict[str, Tensor] = {}
        total = features.new_zeros(())
        if self.config.categories:
            code = turn.latents["category"].argmax(1)
            parts["categorical"] = math.log(self.config.categories) - F.cross_entropy(logits, code)
            total = total + self.config.categorical_weight * parts["categorical"]
        if self.config.codes:
            distance = 0.5 * (turn.latents["code"] - means).square() + 0.5 * math.log(2 * math.pi)
            parts["continuous"] = (math.log(2) - distance).sum(1).mean()
            total = total + self.config.continuous_weight * parts["continuous"]
        return {**parts, "information": total}

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        real, fake = _shared.real_of(turn), _shared.without_graph(lambda: self._make(turn))
        on_real, _ = self._look(turn, real, "real")
        on_fake, features = self._look(turn, fake, "fake")
        loss = self._loss.critic(on_real, on_fake)
        information = self._information(turn, features)
        parts = {"loss": loss, **information, **_shared.critic_parts(on_real, on_fake)}
        parts |= _shared.sign_part(self._augmentation, turn, on_real)
        total = loss - information["information"]
        if self._penalty is not None:
            generator = turn.generator("penalty")
            parts["penalty"] = self._penalty(lambda x: self._look(turn, x, "penalty")[0], real, fake, generator)
            total = total + parts["penalty"]
        return {"total": total, **parts}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        on_real = None
        if self._loss.needs_real:
            on_real = _shared.without_graph(lambda: self._look(turn, _shared.real_of(turn), "real")[0])
        on_fake, features = self._look(turn, self._make(turn), "fake")
        loss = self._loss.generator(on_real, on_fake)
        information = self._information(turn, features)
        return {
            "total": loss - information["information"],
            "loss": loss,
            **information,
            "fake": on_fake.detach().mean(),
        }
