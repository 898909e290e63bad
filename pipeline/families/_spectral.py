"""What SN-GAN and BigGAN play alike: one critic pass over reals and fakes, drawn labels, consistency, orthogonality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Phase, Player, State, Turn
from pipeline.families import _geometry, _shared
from pipeline.penalties._orthogonal import orthogonality
from pipeline.settings import Settings, SettingsError
from pipeline.types import DataSpec


class LatentConsistency(Settings):
    """zCR of Zhao et al. 2021: D is to see no difference between z and z + Δ, and G to make one.

    The values are StudioGAN's for CIFAR-10; with `penalty: {name: consistency, fake: 10}` they are ICR.
    """

    noise: float = Field(default=0.05, gt=0, description="standard deviation of Δ")
    discriminator: float = Field(default=20.0, ge=0, description="weight of E[(D(G(z)) − D(G(z + Δ)))²]")
    generator: float = Field(default=0.5, ge=0, description="weight of −E[(G(z) − G(z + Δ))²], a mean over pixels")


class SpectralConfig(Settings):
    """The keys that both designs have."""

    conditional: bool = Field(default=False, description="batch norm per class in G, projection in D")
    latent: int = Field(default=128, ge=1, description="numbers of noise")
    loss: _shared.LossChoice = Field(default={"name": "hinge"}, description="a file of pipeline/losses")
    penalty: _shared.PenaltyChoice | None = Field(default=None, description="on the discriminator, at every turn")
    latent_consistency: LatentConsistency | None = Field(default=None, description="zCR; none: off")
    augment: _shared.AugmentChoice | None = Field(default=None, description="a file of pipeline/augmentation")
    generator_orthogonal: float = Field(default=0.0, ge=0, description="orthogonal regularisation; the paper's is 1e-4")
    discriminator_orthogonal: float = Field(default=0.0, ge=0)
    discriminator_steps: int = Field(default=1, ge=1, description="turns of D a step, each on a fresh batch")
    generator_batches: int = Field(
        default=1, ge=1, description="samples of G's turn, in batches; 1 for losses that compare with reals"
    )

    @model_validator(mode="after")
    def _augments(self) -> SpectralConfig:
        _shared.check_augment(self.augment, self.loss)
        return self


C = TypeVar("C", bound=SpectralConfig)


class SpectralFamily(BaseFamily[C]):
    """Objectives and phases; a design adds its networks, its optimisers and who moves first.

    In D's turns fakes have their reals' labels; in G's turn labels are drawn evenly, or are the
    reals' where the loss compares with them.
    """

    name = ""

    def __init__(self, config: C) -> None:
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

    def check_networks(self, spec: DataSpec, doublings: int, halvings: int, attended: tuple[int, ...]) -> None:
        """Refuse data whose sides the networks' doublings and halvings do not reach.

        Raises:
            SettingsError: naming the key.
        """
        _shared.check_image(self.name, spec)
        _shared.check_classes(self.name, self.config.conditional, spec)
        _geometry.check_doublings(self.name, "generator", spec.resolution, doublings)
        _geometry.check_doublings(self.name, "discriminator", spec.resolution, halvings)
        smallest = min(spec.resolution)
        for number in attended:
            if smallest // 2 ** min(number, halvings) < 2:
                raise SettingsError(
                    f"families.{self.name}.discriminator_attention: behind block {number} a side of {smallest} is 1, "
                    "and attention needs 2; name an earlier block"
                )

    def turns(self, players: tuple[Player, ...]) -> tuple[Phase, ...]:
        """One phase a player, in the players' order; G reads no data unless its loss looks at reals."""
        needs_real = self._loss.needs_real
        phases = {
            "discriminator": Phase(
                "discriminator", "discriminator", self._discriminator, repeats=self.config.discriminator_steps
            ),
            "generator": Phase("generator", "generator", self._generator, batch="fresh" if needs_real else "none"),
        }
        return tuple(phases[player.name] for player in players)

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        return _shared.augment_state(self._augmentation)

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        _shared.move_augment(self._augmentation, state, observed)

    # --- objectives ---

    def _judge(self, turn: Turn, x: Tensor, label: Tensor | None, purpose: str) -> Tensor:
        return turn.networks["discriminator"](_shared.shown(self._augmentation, turn, x, purpose), label)

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        network, generator = turn.networks["discriminator"], turn.networks["generator"]
        real, label, z = _shared.real_of(turn), _shared.label_of(turn, self.config.conditional), turn.latents["z"]
        fake = _shared.without_graph(lambda: generator(z, label))
        # One pass over both: D has no batch statistics, and the references do so.
        shown = [_shared.shown(self._augmentation, turn, x, name) for x, name in ((real, "real"), (fake, "fake"))]
        both = network(torch.cat(shown), None if label is None else torch.cat([label, label]))
        on_real, on_fake = both.split(real.shape[0])
        loss = self._loss.critic(on_real, on_fake)
        parts = {"total": loss, "loss": loss, **_shared.critic_parts(on_real, on_fake)}
        parts |= _shared.sign_part(self._augmentation, turn, on_real)
        if self._penalty is not None:
            source = turn.generator("penalty")
            parts["penalty"] = self._penalty(lambda x: self._judge(turn, x, label, "penalty"), real, fake, source)
            parts["total"] = parts["total"] + parts["penalty"]
        zcr = self.config.latent_consistency
        if zcr is not None:
            near = _shared.without_graph(lambda: generator(self._near(turn, z), label))
            parts["latent_consistency"] = (on_fake - self._judge(turn, near, label, "fake")).square().mean()
            parts["total"] = parts["total"] + zcr.discriminator * parts["latent_consistency"]
        if self.config.discriminator_orthogonal:
            parts["orthogonality"] = orthogonality(network)
            parts["total"] = parts["total"] + self.config.discriminator_orthogonal * parts["orthogonality"]
        return parts

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        generator = turn.networks["generator"]
        z, label = self._asked(turn)
        fake = generator(z, label)
        on_fake = self._judge(turn, fake, label, "fake")
        on_real = None
        if self._loss.needs_real:
            on_real = _shared.without_graph(lambda: self._judge(turn, _shared.real_of(turn), label, "real"))
        loss = self._loss.generator(on_real, on_fake)
        parts = {"total": loss, "loss": loss, "fake": on_fake.detach().mean()}
        zcr = self.config.latent_consistency
        if zcr is not None:
            parts["latent_difference"] = (fake - generator(self._near(turn, z), label)).square().mean()
            parts["total"] = parts["total"] - zcr.generator * parts["latent_difference"]
        if self.config.generator_orthogonal:
            parts["orthogonality"] = orthogonality(generator, self.unpenalised(generator))
            parts["total"] = parts["total"] + self.config.generator_orthogonal * parts["orthogonality"]
        return parts

    def unpenalised(self, generator: nn.Module) -> tuple[nn.Parameter, ...]:
        """Parameters of G that orthogonal regularisation leaves alone: its shared class table."""
        shared = getattr(generator, "shared", None)
        return tuple(shared.parameters()) if isinstance(shared, nn.Module) else ()

    def _asked(self, turn: Turn) -> tuple[Tensor, Tensor | None]:
        """Noise and labels of G's turn: this phase's own, `generator_batches` times as many as a batch has."""
        z = turn.latents["z"]
        if self._loss.needs_real:
            return z, _shared.label_of(turn, self.config.conditional)
        more = z.shape[0] * (self.config.generator_batches - 1)
        if more:
            z = torch.cat([z, self.latents[0].draw(more, turn.generator("noise")).to(z.device)])
        return z, _shared.drawn_label(turn, int(getattr(turn.networks["generator"], "classes", 0)), z)

    def _near(self, turn: Turn, z: Tensor) -> Tensor:
        assert self.config.latent_consistency is not None
        source = turn.generator("latent_consistency")
        return z + self.config.latent_consistency.noise * torch.randn(z.shape, generator=source).to(z.device)
