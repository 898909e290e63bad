"""medGAN: an autoencoder learns a code of binary and count columns, then a generator learns to make such codes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline import randomness
from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Segment, Turn
from pipeline.errors import SettingsError
from pipeline.families import _shared
from pipeline.families._choices import Width
from pipeline.families._settings import DesignSettings
from pipeline.families._shared import Canon
from pipeline.networks.architectures.medgan import BatchCritic, CodeGenerator, Decoder, Encoder
from pipeline.networks.layers.binary_codec import BinaryCodec
from pipeline.types import Batch, Column, DataSpec

ADAM = Optimiser(lr=1e-3, beta1=0.9, beta2=0.999)
TINY = 1e-12  # in the logarithms, as the authors' program has it


class Config(DesignSettings):
    """Choi et al. 2017, as the authors' program has it; the published batches are 100, then 1000."""

    latent: int = Field(default=128, ge=1, description="numbers of noise, and of the code")
    generator_blocks: int = Field(default=3, ge=1, description="dense layers that add to what they are given")
    discriminator_widths: tuple[Width, ...] = Field(default=(256, 128), min_length=1)
    pretrained: int = Field(
        default=4_500_000, ge=1, description="examples of the autoencoder before the game; published: 100 epochs"
    )
    discriminator_steps: int = Field(default=2, ge=1, description="turns of D a step, each on a fresh batch")
    decay: float = Field(default=1e-3, ge=0, description="of half the sum of squares of all that a phase moves")
    refresh: int = Field(
        default=1000, ge=0, description="passes of G that renew its batch norm's statistics before it makes samples"
    )
    refresh_batch: int = Field(default=1000, ge=2, description="noise of each of these passes")
    generator: Optimiser = Field(default=ADAM, description="of the autoencoder, and then of G and the decoder")
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _whole(self) -> Config:
        if self.refresh and self.refresh * self.refresh_batch > 10_000_000:
            raise ValueError("refresh: more than 10,000,000 rows in all; take fewer passes, or a smaller refresh_batch")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "mimic": {},
    "zoo": {"pretrained": 200_000, "refresh": 200, "refresh_batch": 500, "discriminator_widths": [128, 64]},
    "smoke": {
        "latent": 8,
        "discriminator_widths": [8],
        "pretrained": 32,
        "refresh": 3,
        "refresh_batch": 16,
    },
}

CANON: dict[str, Canon] = {
    "mimic": Canon(
        "medGAN, 615 binary columns",
        (1230,),
        modality="rows",
        counts=(78_848, 79_335, 49_920, 348_161),
        columns=tuple(Column(f"code {number}", ("0", "1")) for number in range(615)),
    )
}


class Family(BaseFamily[Config]):
    """“Generating multi-label discrete patient records using generative adversarial networks”, Choi et al. 2017.

    An autoencoder minimises the cross-entropy of binary columns (the squared error of counts). Then D minimises
    −E[log D(x, x̄)] − E[log(1 − D(x̃, x̃‾))], x̃ = Dec(G(z)), the bars being means over the batch, and G with the decoder
    −E[log D(x̃, x̃‾)] (section 3.3). Every phase adds λ/2·‖θ‖² of what it moves. Good for: tables of many binary
    columns, such as diagnoses and purchases, and of counts.

    The autoencoder and G belong to one player, whose optimiser is reset between the two segments, so that each phase
    moves what its own Adam moves in the authors' program: 158,183 numbers, then 129,255. While D learns, G's batch
    norm is in evaluation mode.
    """

    paper = "Choi, Biswal, Malin, Duke, Stewart, Sun 2017, arXiv:1703.06490"

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,)),)

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("generator", "decoder")

    def check(self, spec: DataSpec) -> None:
        _shared.check_columns(self.name, spec)
        for column in spec.columns:
            if not column.categories and (not column.whole or column.masked):
                what = "lacks values" if column.masked else "is no count"
                raise SettingsError(
                    f"families.{self.name}: makes categories and whole numbers, and the column '{column.name}' {what}; "
                    f"set ingest.source.columns: {{{column.name}: ignore}}, or take ctgan"
                )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, codec = self.config, BinaryCodec(spec.columns)
        return {
            "encoder": Encoder(codec, config.latent),
            "decoder": Decoder(codec, config.latent),
            "generator": CodeGenerator(config.latent, config.generator_blocks, codec.counts_alone),
            "discriminator": BatchCritic(codec.width, config.discriminator_widths),
        }

    def players(self) -> tuple[Player, ...]:
        return (
            Player("generator", ("encoder", "decoder", "generator"), self.config.generator),
            Player("discriminator", ("discriminator",), self.config.discriminator),
        )

    def segments(self) -> tuple[Segment, ...]:
        """The autoencoder, then the game."""
        game = (
            Phase(
                "discriminator",
                "discriminator",
                self._discriminator,
                repeats=self.config.discriminator_steps,
                evaluating=frozenset({"generator"}),
            ),
            Phase("generator", "generator", self._generator, batch="none"),
        )
        return (
            Segment("autoencoder", (Phase("autoencoder", "generator", self._autoencoder),), self.config.pretrained),
            Segment("game", game, reset_optimisers=True),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Rows (n, F) in the units of x."""
        decoder = cast(Decoder, networks["decoder"])
        return decoder.codec.rows(decoder(networks["generator"](latents["z"] * truncation)))

    @torch.no_grad()
    def settled(self, networks: Networks) -> Networks:
        """G with the statistics of its own batch norm renewed, by passes in training mode over fixed noise."""
        generator = copy.deepcopy(networks["generator"]).train()
        device = next(generator.parameters()).device
        source = randomness.generator(0, "medgan/refresh")
        for _ in range(self.config.refresh):
            generator(torch.randn(self.config.refresh_batch, self.config.latent, generator=source).to(device))
        return {**networks, "generator": generator.eval()}

    # --- objectives ---

    def _autoencoder(self, turn: Turn) -> dict[str, Tensor]:
        encoder, decoder = (cast(Encoder, turn.networks["encoder"]), cast(Decoder, turn.networks["decoder"]))
        x = encoder.codec.encoded(_shared.real_of(turn))
        loss = reconstruction(x, decoder(encoder(x)), encoder.codec.is_count(x))
        return {"total": loss + self._decay(turn, "encoder", "decoder"), "loss": loss}

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        codec = cast(Decoder, turn.networks["decoder"]).codec
        with torch.no_grad():
            fake = self._made(turn)
        on_real = turn.networks["discriminator"](codec.encoded(_shared.real_of(turn)))
        on_fake = turn.networks["discriminator"](fake)
        loss = -_log(on_real).mean() - _log(-on_fake).mean()
        return {
            "total": loss + self._decay(turn, "discriminator"),
            "loss": loss,
            **_shared.means(on_real, on_fake, signed=True),
        }

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        on_fake = turn.networks["discriminator"](self._made(turn))
        loss = -_log(on_fake).mean()
        return {
            "total": loss + self._decay(turn, "generator", "decoder"),
            "loss": loss,
            "fake": on_fake.detach().mean(),
        }

    def _made(self, turn: Turn) -> Tensor:
        return turn.networks["decoder"](turn.networks["generator"](turn.latents["z"]))

    def _decay(self, turn: Turn, *names: str) -> Tensor:
        """λ/2·Σθ² over all parameters of these networks, biases and gains too."""
        owned = chain.from_iterable(turn.networks[name].parameters() for name in names)
        return self.config.decay / 2 * torch.stack([each.square().sum() for each in owned]).sum()


def reconstruction(x: Tensor, found: Tensor, is_count: Tensor) -> Tensor:
    """Cross-entropy summed over binary numbers and averaged over rows; of counts the mean squared error beside it."""
    parts: list[Tensor] = []
    if not bool(is_count.all()):
        one, other = x[:, ~is_count], found[:, ~is_count]
        entropy = one * torch.log(other + TINY) + (1 - one) * torch.log(1 - other + TINY)
        parts.append(-entropy.sum(1).mean())
    if bool(is_count.any()):
        parts.append(F.mse_loss(found[:, is_count], x[:, is_count]))
    return torch.stack(parts).sum()


def _log(logits: Tensor) -> Tensor:
    """log(σ(a) + 1e-12)."""
    return torch.log(torch.sigmoid(logits) + TINY)
