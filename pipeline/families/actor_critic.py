"""A GAN as actor and critic: the generator sees its reward through a critic alone, which learns it from samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, State, Turn
from pipeline.families import _shared
from pipeline.families._choices import Width
from pipeline.families._settings import DesignSettings
from pipeline.families._shared import Canon
from pipeline.networks.architectures.actor_critic import RewardModel
from pipeline.networks.architectures.gan import PerceptronGenerator
from pipeline.types import Batch, DataSpec

ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.999)
SCALE, BOUND = 1.0, 0.05  # of the noise and of the generator's first weights, as in `gan`


class Config(DesignSettings):
    """A small design after Pfau & Vinyals 2016, who publish none: perceptrons, any height and width."""

    labelled: ClassVar[bool] = False
    renamed: ClassVar[Mapping[str, str]] = {}  # `critic` is a player of its own here, and no older name of D

    latent: int = Field(default=64, ge=1, description="numbers of noise")
    generator_widths: tuple[Width, ...] = Field(default=(256, 256), min_length=1)
    discriminator_widths: tuple[Width, ...] = Field(default=(256, 256), min_length=1, description="of critic and D")
    reward: Literal["log_probability", "logit"] = Field(default="log_probability", description="log D(x), or its logit")
    critic_steps: int = Field(default=2, ge=1, description="turns of the critic a step, each on noise of its own")
    off_policy: bool = Field(
        default=False,
        description="the critic also learns the reward of as many images between samples and real ones, so that it "
        "knows what lies beside the samples",
    )
    target_decay: float = Field(
        default=0.0, ge=0, lt=1, description="of the copy of D that gives the reward: 0 is D itself; 0.995 moves slowly"
    )
    least_fit: float | None = Field(
        default=None, le=1, description="R² of the critic on new samples below which the actor waits; null: never"
    )
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM
    critic: Optimiser = Optimiser(lr=1e-3, beta1=0.5, beta2=0.999)


PRESETS: dict[str, dict[str, Any]] = {
    "images28": {},
    "zoo": {"target_decay": 0.9, "off_policy": True, "critic_steps": 4, "discriminator": {"lr": 5e-5}},
    "smoke": {"latent": 8, "generator_widths": [16], "discriminator_widths": [16], "target_decay": 0.5},
}

CANON: dict[str, Canon] = {
    "images28": Canon(
        "Actor and critic, perceptrons 28 px (this project's own)",
        (1, 28, 28),
        counts=(283_920, 267_009, 267_009, 267_009),
    )
}


class Family(BaseFamily[Config]):
    """“Connecting generative adversarial networks and actor–critic methods”, Pfau & Vinyals 2016.

    D learns the environment's reward, real or not, by cross-entropy. The reward of an action x, an image of the
    actor's, is r(x) = log D(x). The critic Q minimises E[(Q(x) − r(x))²] over the actor's images, and the actor
    ascends E[Q(G(z))]: with Q = r that is the gradient of a GAN with the loss −log D(G(z)). The actor is blind (no
    state), and real images do not move it. A critic that knows the reward of samples alone says little of what lies
    beside them; `off_policy` shows it images on the way to real ones as well. Good for: seeing what a critic between G
    and D does, and target networks.
    """

    paper = "Pfau, Vinyals 2016, arXiv:1610.01945"

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,)),)

    def check(self, spec: DataSpec) -> None:
        _shared.check_modality(self.name, "image", spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, widths = self.config, self.config.discriminator_widths
        generator = PerceptronGenerator(config.latent, config.generator_widths, spec.shape, 0, SCALE, BOUND, 0.0)
        models = {name: RewardModel(spec.size, widths) for name in ("discriminator", "critic", "target")}
        models["target"].load_state_dict(models["discriminator"].state_dict())
        return {"generator": generator, **models}

    def players(self) -> tuple[Player, ...]:
        config = self.config
        return (
            Player("discriminator", ("discriminator",), config.discriminator),
            Player("critic", ("critic",), config.critic),
            Player("generator", ("generator",), config.generator),
        )

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("discriminator", "discriminator", self._discriminator),
            Phase("critic", "critic", self._critic, batch="same", repeats=self.config.critic_steps),
            Phase("generator", "generator", self._actor, batch="none", when=self._fits),
        )

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        """The critic's R² on samples that it had not seen, in the step before."""
        return {"fit": torch.ones(1)}

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        state.tensors["fit"].fill_(observed.get("critic/fit", 1.0))
        decay = self.config.target_decay
        with torch.no_grad():
            pairs = zip(networks["target"].parameters(), networks["discriminator"].parameters(), strict=True)
            for old, new in pairs:
                old.copy_(new if decay == 0 else decay * old + (1 - decay) * new)

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return networks["generator"](latents["z"] * truncation)

    # --- objectives ---

    def _fits(self, state: State) -> bool:
        return self.config.least_fit is None or float(state.tensors["fit"]) >= self.config.least_fit

    def reward(self, networks: Networks, x: Tensor) -> Tensor:
        """r(x), (n,): of the target copy where there is one, else of D as it is now."""
        logits = networks["target" if self.config.target_decay else "discriminator"](x)
        return F.logsigmoid(logits) if self.config.reward == "log_probability" else logits

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = turn.networks["generator"](turn.latents["z"])
        on_real, on_fake = (turn.networks["discriminator"](x) for x in (_shared.real_of(turn), fake))
        loss = (F.softplus(-on_real).mean() + F.softplus(on_fake).mean()) / 2
        return {"total": loss, "loss": loss, **_shared.means(on_real, on_fake, signed=True)}

    def _critic(self, turn: Turn) -> dict[str, Tensor]:
        with torch.no_grad():
            samples = turn.networks["generator"](turn.latents["z"])
            x = torch.cat([samples, self._between(turn, samples)]) if self.config.off_policy else samples
            reward = self.reward(turn.networks, x)
        errors = (turn.networks["critic"](x) - reward).square()
        total, own, of_own = errors.mean(), errors[: len(samples)].mean(), reward[: len(samples)]
        spread = of_own.var(unbiased=False).clamp(min=1e-12)
        return {"total": total, "loss": total, "reward": of_own.mean(), "fit": 1 - own.detach() / spread}

    def _between(self, turn: Turn, samples: Tensor) -> Tensor:
        """Images anywhere on the lines from samples to real ones."""
        share = torch.rand((len(samples), 1, 1, 1), generator=turn.generator("between")).to(samples.device)
        return torch.lerp(samples, _shared.real_of(turn), share)

    def _actor(self, turn: Turn) -> dict[str, Tensor]:
        value = turn.networks["critic"](turn.networks["generator"](turn.latents["z"])).mean()
        return {"total": -value, "value": value.detach()}
