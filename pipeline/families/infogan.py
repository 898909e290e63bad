"""InfoGAN: some of the noise is a code, and a recogniser on the discriminator's trunk must read it off the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Turn
from pipeline.families import _choices, _geometry
from pipeline.families._adversarial import LatentFamily, Passes, Terms
from pipeline.families._settings import StackSettings
from pipeline.families._shared import Canon
from pipeline.networks.architectures.dcgan import CodedGenerator
from pipeline.networks.architectures.infogan import Recogniser, TrunkDiscriminator
from pipeline.networks.blocks.dense_stacks import DensePlan
from pipeline.networks.layers import init
from pipeline.networks.layers.embedding import LabelVector
from pipeline.types import Batch, DataSpec

# D's moves the recogniser too.
ADAM = {"generator": Optimiser(lr=1e-3, beta1=0.5), "discriminator": Optimiser(lr=2e-4, beta1=0.5)}


class Config(StackSettings):
    """Chen et al. 2016 for MNIST, as the authors' run_mnist_exp.py has it; H×W must be base·2^k."""

    conditional: bool = Field(default=False, description="labels, one-hot, beside every layer's input too")
    latent: int = Field(default=62, ge=1, description="numbers of noise that no one reads, uniform")
    categories: int = Field(default=10, ge=0, description="values of the categorical code; 0: none")
    codes: int = Field(default=2, ge=0, description="continuous codes, uniform over (−1, 1)")
    dense: int = Field(default=1024, ge=1, description="units of the dense layers")
    recogniser_width: int = Field(default=128, ge=1, description="units between the trunk and the codes")
    slope: float = Field(default=0.01, ge=0, lt=1, description="of D's leaky relu; the paper says 0.1, its code 0.01")
    init_std: float | None = Field(default=0.02, gt=0, description="N(0, std) for all weights; none: torch's defaults")
    categorical_weight: float = Field(default=1.0, ge=0, description="λ of the categorical code's information")
    continuous_weight: float = Field(default=1.0, ge=0, description="λ of the continuous codes'; the paper says 0.1")
    generator: Optimiser = ADAM["generator"]
    discriminator: Optimiser = ADAM["discriminator"]

    @model_validator(mode="after")
    def _reads_something(self) -> Config:
        if not self.codes and self.categories < 2:
            raise ValueError(
                "categories: with fewer than 2 and no continuous codes there is nothing to read; take dcgan"
            )
        if self.categories == 1:
            raise ValueError("categories: 1 is not allowed; one value carries no information, set 0 or 2 and more")
        _choices.check_penalties(self.penalties, True, "take r1")
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

CANON: dict[str, Canon] = {"mnist": Canon("InfoGAN MNIST", (1, 28, 28), counts=(6_652_481, 6_559_169, 133_262))}


class Family(LatentFamily[Config]):
    """“InfoGAN: interpretable representation learning by information maximizing GANs”, Chen et al. 2016.

    min_{G,Q} max_D V(D, G) − λ L_I(G, Q), with L_I = E[log Q(c|G(z, c))] + H(c) ≤ I(c; G(z, c)) (equations
    5 and 6): a cross-entropy for the categorical code, a Gaussian of deviation 1 for the others. The
    discriminator's player owns Q, and L_I is in both players' losses. Good for: factors of variation
    without labels (`code_traversal`).
    """

    paper = "Chen, Duan, Houthooft, Schulman, Sutskever, Abbeel 2016, arXiv:1606.03657"

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
        super().check(spec)
        _geometry.find_base(self.name, spec.resolution, self.config.levels, self.config.smallest)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        (height, width), levels = _geometry.find_base(self.name, spec.resolution, config.levels, config.smallest)
        classes = self.count_classes(spec)

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
            "generator": CodedGenerator(plan(config.generator_width), inputs, LabelVector(classes)),
            "discriminator": TrunkDiscriminator(plan(config.discriminator_width), classes),
            "recogniser": Recogniser(
                config.dense, config.recogniser_width, config.categories, config.codes, config.slope
            ),
        }
        if config.init_std is not None:
            init.normal(config.init_std, *networks.values())
        return networks

    @property
    def discriminator_networks(self) -> tuple[str, ...]:
        return ("discriminator", "recogniser")

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return networks["generator"](self._joined(latents) * truncation, self.label_of(condition))

    def _joined(self, latents: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([latents[latent.name] for latent in self.latents], dim=1)

    def generate(self, turn: Turn) -> Tensor:
        return turn.networks["generator"](self._joined(turn.latents), self.label(turn))

    def logits(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        """Beside the logits D gives the features that the recogniser reads."""
        return outputs[0]

    def discriminator_terms(self, turn: Turn, seen: Passes) -> Terms:
        return self._information(turn, seen.on_fake[1])

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        return self._information(turn, seen.on_fake[1])

    def _information(self, turn: Turn, features: Tensor) -> Terms:
        """L_I of each kind of code in nats, and their weighted sum, which both players want large."""
        logits, means = turn.networks["recogniser"](features)
        config, found, total = self.config, dict[str, tuple[float, Tensor]](), features.new_zeros(())
        if config.categories:
            code = turn.latents["category"].argmax(1)
            known = math.log(config.categories) - F.cross_entropy(logits, code)
            found["categorical"] = (0.0, known)
            total = total + config.categorical_weight * known
        if config.codes:
            distance = 0.5 * (turn.latents["code"] - means).square() + 0.5 * math.log(2 * math.pi)
            known = (math.log(2) - distance).sum(1).mean()
            found["continuous"] = (0.0, known)
            total = total + config.continuous_weight * known
        return {**found, "information": (-1.0, total)}
