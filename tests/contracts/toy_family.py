"""A design with three players and no sense, which uses everything that the contract can say.

An encoder and a decoder learn together (one player, two networks) to fool a discriminator, a scout
learns to tell how sure the discriminator is, and an oracle that nobody owns stays as it was built. Rows of
bits stand for data. The curriculum first rebuilds, then plays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Segment, State, Turn
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec


class Config(Settings):
    """Small widths; `warm_up` examples of the first segment."""

    width: int = Field(default=8, ge=1)
    latent: int = Field(default=4, ge=1)
    warm_up: int = Field(default=64, gt=0)
    penalty_every: int = Field(default=4, ge=1)
    clip: float = Field(default=0.5, gt=0)
    optimiser: Optimiser = Optimiser(lr=1e-2, beta1=0.0)


class Spectral(nn.Module):
    """A linear layer over its largest singular value, whose iteration moves in `advance` alone."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.u: Tensor
        self.register_buffer("u", F.normalize(torch.randn(outputs), dim=0))

    @torch.no_grad()
    def advance(self) -> None:
        v = F.normalize(self.linear.weight.T @ self.u, dim=0)
        self.u.copy_(F.normalize(self.linear.weight @ v, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        v = F.normalize(self.linear.weight.detach().T @ self.u, dim=0)
        sigma = self.u @ self.linear.weight @ v
        return F.linear(x, self.linear.weight / sigma, self.linear.bias)


def discriminator_repeats(state: State) -> int:
    """Three turns in the first two steps and one after: WGAN's schedule in small."""
    return 3 if state.step < 2 else 1


class Family(BaseFamily[Config]):
    """Everything FAMILIES §3.4 lists, in one design."""

    paper = "none"
    objective = "frechet"

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,)), Latent("code", (3,), "categorical"), Latent("bits", (2,), "bits"))

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("decoder",)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        width, inputs = self.config.width, self.config.latent + 5
        return {
            "encoder": nn.Sequential(nn.Linear(spec.size, width), nn.ReLU(), nn.Linear(width, inputs)),
            "decoder": nn.Sequential(
                nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, spec.size), nn.Tanh()
            ),
            "discriminator": nn.Sequential(Spectral(spec.size, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)),
            "scout": nn.Linear(spec.size, 1),
            "oracle": nn.Linear(spec.size, 2),
        }

    def players(self) -> tuple[Player, ...]:
        optimiser = self.config.optimiser
        return (
            Player("generator", ("encoder", "decoder"), optimiser),
            Player("discriminator", ("discriminator",), optimiser),
            Player("scout", ("scout",), Optimiser(name="sgd", lr=1e-2, momentum=0.5)),
        )

    def segments(self) -> tuple[Segment, ...]:
        rebuild = Phase("rebuild", "generator", self._rebuild)
        return (
            Segment("rebuild", (rebuild,), examples=self.config.warm_up),
            Segment("play", self._play(), reset_optimisers=True),
        )

    def _play(self) -> tuple[Phase, ...]:
        every = self.config.penalty_every
        return (
            Phase(
                "discriminator",
                "discriminator",
                self._discriminator,
                repeats=discriminator_repeats,
                evaluating=frozenset({"decoder"}),
            ),
            Phase("penalty", "discriminator", self._penalty, batch="same", every=every, gain=every),
            # Data-dependent: the scout rests where the discriminator is too good (3D-GAN's rule for D).
            Phase("scout", "scout", self._scout, batch="none", latents="shared", when=_scout_is_due, apply="end"),
            Phase("generator", "generator", self._generator, batch="same", latents="shared", apply="end"),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        noise = torch.cat([latents["z"] * truncation, latents["code"], latents["bits"]], dim=1)
        return networks["decoder"](noise)

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        return {"discriminator_accuracy": torch.tensor(0.5), "turns": torch.tensor(0)}

    def lane_state(self, spec: DataSpec, lane_size: int) -> dict[str, Tensor]:
        return {"pool": torch.zeros(lane_size, spec.size)}

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        """Clips the scout and remembers how often the discriminator was right."""
        with torch.no_grad():
            for parameter in networks["scout"].parameters():
                parameter.clamp_(-self.config.clip, self.config.clip)
        state.tensors["turns"] += 1
        if "discriminator/accuracy" in observed:
            state.tensors["discriminator_accuracy"].lerp_(torch.tensor(observed["discriminator/accuracy"]), 0.5)

    def procedures(self) -> dict[str, Callable[..., Any]]:
        return {"encode": lambda networks, x: networks["encoder"](x)}

    # --- objectives ---

    def _fake(self, turn: Turn) -> Tensor:
        return self.sample(turn.networks, turn.latents, {})

    def _rebuild(self, turn: Turn) -> dict[str, Tensor]:
        x = _real(turn)
        loss = F.mse_loss(turn.networks["decoder"](turn.networks["encoder"](x)), x)
        return {"total": loss, "rebuilt": loss}

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        """Half of the fakes come from the lane's pool, which then keeps the new ones."""
        discriminator = turn.networks["discriminator"]
        with torch.no_grad():
            fake = self._fake(turn)
        pool = turn.lane_state["pool"]
        from_pool = torch.rand(len(fake), 1, generator=turn.generator("pool")) < 0.5
        shown = torch.where(from_pool.to(fake.device), pool, fake)
        pool.copy_(fake)
        on_real, on_fake = discriminator(_real(turn)), discriminator(shown)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        accuracy = ((on_real > 0).float().mean() + (on_fake < 0).float().mean()) / 2
        return {"total": loss, "real": on_real.mean(), "fake": on_fake.mean(), "accuracy": accuracy}

    def _penalty(self, turn: Turn) -> dict[str, Tensor]:
        x = _real(turn).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(turn.networks["discriminator"](x).sum(), x, create_graph=True)
        return {"total": gradient.square().sum(1).mean()}

    def _scout(self, turn: Turn) -> dict[str, Tensor]:
        """Guesses the discriminator's logit of the fakes that the generator will answer for."""
        fake = turn.once("fake", lambda: self._fake(turn)).detach()
        with torch.no_grad():
            mood = turn.networks["discriminator"](fake)
        return {"total": F.mse_loss(turn.networks["scout"](fake), mood)}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        fake = turn.once("fake", lambda: self._fake(turn))
        towards_oracle = turn.networks["oracle"](fake).square().mean()
        loss = (
            F.softplus(-turn.networks["discriminator"](fake)).mean() + F.softplus(-turn.networks["scout"](fake)).mean()
        )
        encoded = turn.networks["encoder"](_real(turn))
        rebuilt = F.mse_loss(turn.networks["decoder"](encoded), _real(turn))
        return {"total": loss + 0.1 * towards_oracle + rebuilt, "oracle": towards_oracle, "rebuilt": rebuilt}


def _real(turn: Turn) -> Tensor:
    assert "x" in turn.batch
    return turn.batch["x"]


def _scout_is_due(state: State) -> bool:
    return bool(state.tensors["discriminator_accuracy"] < 0.9) and state.step % 2 == 0
