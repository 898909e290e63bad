"""Adversarial neural cryptography: Alice and Bob share a key and learn to shut Eve out; no data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Family as BaseFamily
from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Phase, Player, Segment, Turn
from pipeline.errors import SettingsError
from pipeline.families._settings import DesignSettings
from pipeline.families._shared import Canon
from pipeline.networks.architectures.adversarial_cryptography import CipherNetwork, Variant
from pipeline.types import Batch, DataSpec

ADAM = Optimiser(lr=8e-4, beta1=0.9, beta2=0.999)


class Config(DesignSettings):
    """Abadi & Andersen 2016: 16 bits of message, and as many of key."""

    bits: int = Field(default=16, ge=4, le=1024, multiple_of=2, description="N; the source's shape is [N]")
    variant: Variant = Field(default="paper", description="code: the smaller convolutions of the authors' program")
    eve_steps: int = Field(default=2, ge=1, description="turns of Eve a turn of Alice and Bob")
    game: int | None = Field(
        default=None,
        ge=1,
        description="messages after which a new Eve learns alone, against a frozen cipher; null: never",
    )
    alice_bob: Optimiser = ADAM
    eve: Optimiser = ADAM


_QUICK: dict[str, Any] = {"lr": 5e-3}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "code": {"variant": "code"},
    # 15,000 turns of 4,096 messages, and then one of the paper's five fresh Eves.
    "attacked": {"game": 61_440_000},
    "smoke": {"variant": "code", "alice_bob": _QUICK, "eve": _QUICK},
}

CANON: dict[str, Canon] = {
    "paper": Canon("Neural crypto N=16 (paper convs)", (16,), modality="rows", counts=(1_111, 1_111, 599)),
    "code": Canon("Neural crypto N=16 (TF-models code)", (16,), modality="rows", counts=(1_075, 1_075, 563)),
}


class Family(BaseFamily[Config]):
    """“Learning to protect communications with adversarial neural cryptography”, Abadi & Andersen 2016.

    Messages P and keys K are fresh random bits of ±1, C = A(P, K), and a network's bits wrong are
    d(P, P̂) = ½ Σ|P − P̂|. Eve minimises E[d(P, E(C))], Alice and Bob
    E[d(P, B(C, K))]/N + E[(N/2 − d(P, E(C)))²]/(N/2)² (section 2.3): Eve is to be no better than a guess, and
    no worse, since always wrong is as good as always right. Good for: a game whose answer is known, without data.

    Bits are latents, so that there is nothing to read (`needs` is empty; the source is `synthetic`, its shape
    the number of bits). Scores are counts of bits, rounded as a receiver would: `bob_bits_wrong`,
    `eve_bits_wrong`, and the objective `bits_lost`, Bob's plus |N/2 − Eve's|. Samples are ciphertexts.
    """

    paper = "Abadi, Andersen 2016, arXiv:1610.06918"
    objective = "bits_lost"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    @property
    def latents(self) -> LatentSpec:
        shape = (self.config.bits,)
        return (Latent("message", shape, "bits"), Latent("key", shape, "bits"))

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("alice", "bob", "eve")

    def check(self, spec: DataSpec) -> None:
        if spec.modality != "rows":
            raise SettingsError(
                f"families.{self.name}: plays with bits, and the data is {spec.modality}; take the source "
                f"synthetic, with shape: [{self.config.bits}]"
            )
        if spec.shape != (self.config.bits,):
            raise SettingsError(
                f"families.{self.name}.bits: is {self.config.bits}, and the data has rows of "
                f"{spec.size}; set ingest.source.shape: [{self.config.bits}]"
            )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        bits, variant = self.config.bits, self.config.variant
        return {
            "alice": CipherNetwork(2 * bits, bits, variant),
            "bob": CipherNetwork(2 * bits, bits, variant),
            "eve": CipherNetwork(bits, bits, variant),
        }

    def players(self) -> tuple[Player, ...]:
        return (Player("alice_bob", ("alice", "bob"), self.config.alice_bob), Player("eve", ("eve",), self.config.eve))

    def segments(self) -> tuple[Segment, ...]:
        """The game; then, where the settings ask for it, a new Eve against a cipher that no longer moves."""
        eve = Phase("eve", "eve", self._eve, batch="none", repeats=self.config.eve_steps)
        game = (Phase("alice_bob", "alice_bob", self._alice_bob, batch="none"), eve)
        if self.config.game is None:
            return (Segment("game", game),)
        return (
            Segment("game", game, examples=self.config.game),
            Segment("attack", (eve,), reset_optimisers=True, rebuild=("eve",)),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Ciphertexts (n, bits); truncation scales the message, so that 0 is the encryption of nothing."""
        return networks["alice"](torch.cat([latents["message"] * truncation, latents["key"]], dim=1))

    def measure(self, networks: Networks, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole bits of each message (n,) that Bob and Eve get wrong."""
        message = latents["message"]
        by_bob, by_eve = self._read(networks, latents)
        bob, eve = bits_wrong(message, by_bob.sign()), bits_wrong(message, by_eve.sign())
        return {"bob_bits_wrong": bob, "eve_bits_wrong": eve}

    def conclude(self, means: Mapping[str, float]) -> dict[str, float]:
        """`bits_lost`: what Bob gets wrong, and how far Eve is from a guess."""
        return {"bits_lost": means["bob_bits_wrong"] + abs(self.config.bits / 2 - means["eve_bits_wrong"])}

    # --- objectives ---

    def _read(self, networks: Networks, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The message as Bob and as Eve read it (n, bits)."""
        sent = networks["alice"](torch.cat([latents["message"], latents["key"]], dim=1))
        return networks["bob"](torch.cat([sent, latents["key"]], dim=1)), networks["eve"](sent)

    def _alice_bob(self, turn: Turn) -> dict[str, Tensor]:
        message = turn.latents["message"]
        by_bob, by_eve = self._read(turn.networks, turn.latents)
        bob, eve = bits_wrong(message, by_bob), bits_wrong(message, by_eve)
        return {
            "total": pact(bob, eve, message.shape[1]),
            "bob_wrong": bob.detach().mean(),
            "eve_wrong": eve.detach().mean(),
        }

    def _eve(self, turn: Turn) -> dict[str, Tensor]:
        message = turn.latents["message"]
        with torch.no_grad():
            sent = turn.networks["alice"](torch.cat([message, turn.latents["key"]], dim=1))
        wrong = bits_wrong(message, turn.networks["eve"](sent)).mean()
        return {"total": wrong, "wrong": wrong}


def bits_wrong(message: Tensor, read: Tensor) -> Tensor:
    """d(P, P̂) = ½ Σ|P − P̂| for bits of ±1: (n,); a bit that is read as 0 counts half."""
    return 0.5 * (message - read).abs().sum(1)


def pact(bob: Tensor, eve: Tensor, bits: int) -> Tensor:
    """Alice's and Bob's loss of the bits that Bob and Eve get wrong (n,): 0 where Bob reads all, Eve at chance."""
    chance = bits / 2
    return bob.mean() / bits + ((chance - eve) / chance).square().mean()
