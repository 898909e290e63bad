"""What SN-GAN and BigGAN play alike: one pass of D over reals and fakes, drawn labels, consistency, orthogonality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Turn
from pipeline.errors import SettingsError
from pipeline.families import _geometry, _shared
from pipeline.families._adversarial import LatentFamily, Passes, Reads, Terms
from pipeline.families._choices import LossChoice
from pipeline.families._settings import LatentSettings
from pipeline.penalties._orthogonal import orthogonality
from pipeline.settings import Settings
from pipeline.types import DataSpec


class LatentConsistency(Settings):
    """zCR of Zhao et al. 2021: D is to see no difference between z and z + Δ, and G to make one.

    The values are StudioGAN's for CIFAR-10; with `penalties: {consistency: {fake: 10}}` they are ICR.
    """

    noise: float = Field(default=0.05, gt=0, description="standard deviation of Δ")
    discriminator: float = Field(default=20.0, ge=0, description="weight of E[(D(G(z)) − D(G(z + Δ)))²]")
    generator: float = Field(default=0.5, ge=0, description="weight of −E[(G(z) − G(z + Δ))²], a mean over pixels")


class SpectralConfig(LatentSettings):
    """The keys that both designs have."""

    removed: ClassVar[Mapping[str, str]] = {"order": "weights are carried over by name; leave it out"}

    conditional: bool = Field(default=False, description="batch norm per class in G, projection in D")
    latent: int = Field(default=128, ge=1, description="numbers of noise")
    loss: LossChoice = Field(default={"name": "hinge"}, description="a file of pipeline/losses")
    latent_consistency: LatentConsistency | None = Field(default=None, description="zCR; none: off")
    generator_orthogonal: float = Field(default=0.0, ge=0, description="orthogonal regularisation; the paper's is 1e-4")
    discriminator_orthogonal: float = Field(default=0.0, ge=0)
    generator_batches: int = Field(
        default=1, ge=1, description="samples of G's turn, in batches; 1 for losses that compare with reals"
    )

    @model_validator(mode="after")
    def _draws_labels(self) -> SpectralConfig:
        if self.shares:
            key = "share_fakes" if self.share_fakes else "simultaneous"
            raise ValueError(f"{key}: true is not allowed; G's turn has labels of its own in this design")
        return self


C = TypeVar("C", bound=SpectralConfig)


class SpectralFamily(LatentFamily[C]):
    """Hooks that both designs have; each adds its networks and its optimisers.

    In D's turns fakes have their reals' labels; in G's turn, which reads no data unless its loss compares with
    reals, labels are drawn evenly.
    """

    @property
    def reads(self) -> Mapping[str, Reads]:
        return {"discriminator": "fresh", "generator": "fresh" if self.loss.needs_real else "none"}

    def check_networks(self, spec: DataSpec, doublings: int, halvings: int, attended: tuple[int, ...]) -> None:
        """Refuse data whose sides the networks' doublings and halvings do not reach.

        Raises:
            SettingsError: naming the key.
        """
        super().check(spec)
        _geometry.check_doublings(self.name, "generator", spec.resolution, doublings)
        _geometry.check_doublings(self.name, "discriminator", spec.resolution, halvings)
        smallest = min(spec.resolution)
        for number in attended:
            if smallest // 2 ** min(number, halvings) < 2:
                raise SettingsError(
                    f"families.{self.name}.discriminator_attention: behind block {number} a side of {smallest} is 1, "
                    "and attention needs 2; name an earlier block"
                )

    # --- hooks ---

    def noise(self, turn: Turn) -> Tensor:
        """z of this turn; G's own turn has `generator_batches` times as much as a batch."""
        z = turn.latents["z"]
        more = 0 if turn.batch else z.shape[0] * (self.config.generator_batches - 1)
        return torch.cat([z, self.latents[0].draw(more, turn.generator("noise")).to(z.device)]) if more else z

    def label(self, turn: Turn) -> Tensor | None:
        classes = int(getattr(turn.networks["generator"], "classes", 0))
        if turn.batch or not classes:
            return self.label_of(turn.batch)
        z = turn.latents["z"]
        return even_labels(classes, z.shape[0] * self.config.generator_batches, turn.generator("label")).to(z.device)

    def generate(self, turn: Turn) -> Tensor:
        return turn.networks["generator"](self.noise(turn), self.label(turn))

    def both(self, turn: Turn, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """One pass over both: D has no batch statistics, and the references do so."""
        label = self.label(turn)
        shown = torch.cat([self.augmented(turn, real, "real"), self.augmented(turn, fake, "fake")])
        both = turn.networks["discriminator"](shown, None if label is None else torch.cat([label, label]))
        return both.split(real.shape[0])

    def discriminator_terms(self, turn: Turn, seen: Passes) -> Terms:
        zcr, weight, found = self.config.latent_consistency, self.config.discriminator_orthogonal, _terms()
        if zcr is not None:
            near = _shared.without_graph(lambda: self._nearby(turn, zcr))
            distance = (seen.on_fake - self.outputs(turn, near, "fake")).square().mean()
            found["latent_consistency"] = (zcr.discriminator, distance)
        if weight:
            found["orthogonality"] = (weight, orthogonality(turn.networks["discriminator"]))
        return found

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        zcr, weight, found = self.config.latent_consistency, self.config.generator_orthogonal, _terms()
        if zcr is not None:
            found["latent_difference"] = (-zcr.generator, (seen.fake - self._nearby(turn, zcr)).square().mean())
        if weight:
            network = turn.networks["generator"]
            # Its shared class table is left alone.
            table = getattr(network, "shared", None)
            skipped = tuple(table.parameters()) if isinstance(table, nn.Module) else ()
            found["orthogonality"] = (weight, orthogonality(network, skipped))
        return found

    def _nearby(self, turn: Turn, zcr: LatentConsistency) -> Tensor:
        """Fakes of this turn's noise, moved by Δ."""
        z, source = self.noise(turn), turn.generator("latent_consistency")
        moved = z + zcr.noise * torch.randn(z.shape, generator=source).to(z.device)
        return turn.networks["generator"](moved, self.label(turn))


def _terms() -> dict[str, tuple[float, Tensor]]:
    return {}


def even_labels(classes: int, count: int, generator: torch.Generator) -> Tensor:
    """Labels (count,), each class as likely as any other."""
    return torch.randint(0, classes, (count,), generator=generator)
