"""The game of two players, once: a generator and a discriminator, its phases, and an objective for each.

A design builds its networks and overrides the hooks in which it differs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from pipeline.contract import Family, Latent, LatentSpec, Networks, Objective, Phase, Player, Scores, State, Turn
from pipeline.families import _choices, _shared
from pipeline.families._choices import ChosenPenalty
from pipeline.families._settings import GameSettings, LatentSettings, LossSettings
from pipeline.penalties._shared import leaf
from pipeline.types import Batch, DataSpec, Modality

L = TypeVar("L", bound=LossSettings)
C = TypeVar("C", bound=GameSettings)
Reads = Literal["fresh", "same", "none"]
Terms = Mapping[str, tuple[float, Tensor]]
"""Further parts of an objective: name → (weight in the total, scalar); of weight 0, they are reported alone."""


class AugmentingFamily(Family[L]):
    """A loss, and the augmentation of all that discriminators see, with the state that it keeps."""

    def __init__(self, config: L) -> None:
        super().__init__(config)
        self.loss = _choices.load_loss(config.loss)
        self.augmentation = _choices.load_augmentation(config.augment)

    def augmented(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        """x as D is to see it, augmented by this lane's draws for `purpose`."""
        if self.augmentation is None:
            return x
        return self.augmentation(x, turn.state, turn.generator(f"augment/{purpose}"))

    def watched(self, turn: Turn, on_real: Tensor) -> dict[str, Tensor]:
        """`sign`: E[sign D(real)], which ADA watches, 0 where D is lost and 1 where it knows every real; and p."""
        if self.augmentation is None:
            return {}
        moving = {name: value for name, value in turn.state.tensors.items() if name == "augment_p"}
        return {"sign": on_real.detach().sign().mean(), **moving}

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        return {} if self.augmentation is None else self.augmentation.state()

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        """Move ADA's p by the mean sign over all discriminators that played."""
        signs = [value for name, value in observed.items() if name.partition("/")[2].startswith("sign")]
        if self.augmentation is not None:
            self.augmentation.after_step(state, sum(signs) / len(signs) if signs else None)


@dataclass(frozen=True, slots=True)
class Passes:
    """What D was shown in a turn and what it gave; of reals nothing in G's turn, unless the loss compares with them."""

    real: Tensor | None
    fake: Tensor
    on_real: Any
    on_fake: Any


class AdversarialFamily(AugmentingFamily[C]):
    """A generator and a discriminator, which learns to tell data from the generator's samples.

    shared_pass: penalties at reals and at fakes are taken from the passes of the loss, which saves D a pass each.
    """

    modality: ClassVar[Modality] = "image"
    shared_pass: ClassVar[bool] = False

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self.penalties = _choices.load_penalties(config.penalties, config.usual_every)

    # --- hooks ---

    @property
    def first(self) -> Literal["discriminator", "generator"]:
        """Who moves first in a step."""
        return "discriminator"

    @property
    def reads(self) -> Mapping[str, Reads]:
        """The batch of each player's turn."""
        if self.first == "discriminator":
            return {"discriminator": "fresh", "generator": "same"}
        return {"generator": "fresh", "discriminator": "fresh" if self.config.repeats else "same"}

    @property
    def discriminator_turns(self) -> int | Callable[[State], int]:
        """How often D moves in a step."""
        return self.config.discriminator_steps

    @property
    def discriminator_networks(self) -> tuple[str, ...]:
        """What D's player owns."""
        return ("discriminator",)

    @property
    def generator_networks(self) -> tuple[str, ...]:
        """What G's player owns."""
        return ("generator",)

    @property
    def adversarial(self) -> float:
        """Weight of the loss in what G minimises."""
        return 1.0

    def further_phases(self) -> tuple[Phase, ...]:
        """Lazy phases of G, behind its own."""
        return ()

    def label(self, turn: Turn) -> Tensor | None:
        """The labels (n,) that both networks are given in this turn."""
        return self.label_of(turn.batch)

    def real(self, turn: Turn) -> Tensor:
        """The data as D is to see it."""
        return _shared.real_of(turn)

    @abstractmethod
    def generate(self, turn: Turn) -> Tensor:
        """Fakes as D is to see them, of this turn's noise, with G's graph."""

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> Any:
        """Whatever D gives for x: logits, or a tuple that `logits` knows; `purpose` names the draws of this pass."""
        return _shared.called(turn.networks["discriminator"], self.augmented(turn, x, purpose), self.label(turn))

    def both(self, turn: Turn, real: Tensor, fake: Tensor) -> tuple[Any, Any]:
        """D's outputs on reals and on fakes: two passes, so that batch norm sees them apart."""
        return self.outputs(turn, real, "real"), self.outputs(turn, fake, "fake")

    def logits(self, outputs: Any) -> Tensor:
        """What the loss is computed of, among D's outputs."""
        return outputs

    def discriminator_terms(self, turn: Turn, seen: Passes) -> Terms:
        """What D minimises beside the loss and the penalties."""
        return {}

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        """What G minimises beside the loss."""
        return {}

    # --- the contract ---

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "label"}) if self.config.conditional else frozenset({"x"})

    def check(self, spec: DataSpec) -> None:
        _shared.check_modality(self.name, self.modality, spec)
        self.check_classes(spec.classes)

    def players(self) -> tuple[Player, ...]:
        """Each with Adam's constants corrected for its own lazy phases."""
        networks = {"discriminator": self.discriminator_networks, "generator": self.generator_networks}
        optimisers = {"discriminator": self.config.discriminator, "generator": self.config.generator}
        lazy = {"discriminator": self._lazy_phases(), "generator": self.further_phases()}
        return tuple(
            Player(name, networks[name], _shared.lazy(optimisers[name], *(phase.every for phase in lazy[name])))
            for name in self._order
        )

    def phases(self) -> tuple[Phase, ...]:
        """Each player's turn in its order, with its lazy phases behind it; with shared fakes all see the same noise."""
        discriminator = self._turn("discriminator", self._discriminator, repeats=self.discriminator_turns)
        turns = {
            "discriminator": (discriminator, *self._lazy_phases()),
            "generator": (self._turn("generator", self._generator), *self.further_phases()),
        }
        return tuple(phase for name in self._order for phase in turns[name])

    # --- the game ---

    def label_of(self, batch: Batch) -> Tensor | None:
        """The labels of a batch, or of what a sample is to be; none where the design is not conditional."""
        return _shared.label_of(batch, self.config.conditional)

    def count_classes(self, spec: DataSpec) -> int:
        """The classes that networks are built for: 0 where labels are not used."""
        return len(spec.classes) if self.config.conditional else 0

    @property
    def _order(self) -> tuple[str, str]:
        return ("discriminator", "generator") if self.first == "discriminator" else ("generator", "discriminator")

    def _phase(self, name: str, player: str, objective: Objective, batch: Reads, **keys: Any) -> Phase:
        noise = self.latents[0].name if self.config.shares and self.latents else ""
        return Phase(name, player, objective, batch, noise, apply="end" if self.config.simultaneous else "now", **keys)

    def _turn(self, player: str, objective: Objective, **keys: Any) -> Phase:
        second = self.config.shares and player != self.first
        return self._phase(player, player, objective, "same" if second else self.reads[player], **keys)

    def _lazy_phases(self) -> tuple[Phase, ...]:
        lazy = [(each, each.every, partial(self._lazy_penalty, each)) for each in self.penalties if each.every > 1]
        return tuple(
            self._phase(self._part(each), "discriminator", objective, "same", every=every, gain=every)
            for each, every, objective in lazy
        )

    def _part(self, penalty: ChosenPenalty) -> str:
        return "penalty" if len(self.penalties) == 1 else penalty.name

    def _fake(self, turn: Turn) -> Tensor:
        """Fakes for D, cut from G; the graph is kept for G's own phase where it will answer for them."""
        if self.config.shares:
            return turn.once("fake", lambda: self.generate(turn)).detach()
        return _shared.without_graph(lambda: self.generate(turn))

    def _scores(self, turn: Turn, x: Tensor) -> Tensor:
        return _shared.per_example(self.logits(self.outputs(turn, x, "penalty")))

    def _penalty(self, chosen: ChosenPenalty, turn: Turn, scores: Scores, real: Tensor, fake: Tensor) -> Tensor:
        return chosen.value(scores, real, fake, turn.generator(self._part(chosen)), turn.state.examples_seen)

    def _discriminator(self, turn: Turn) -> dict[str, Tensor]:
        real, fake = self.real(turn), self._fake(turn)
        now = [each for each in self.penalties if each.every == 1]
        if now and self.shared_pass:
            real, fake = leaf(real), leaf(fake)
        on_real, on_fake = self.both(turn, real, fake)
        logits = {"real": self.logits(on_real), "fake": self.logits(on_fake)}
        total = loss = self.loss.discriminator(logits["real"], logits["fake"])
        parts = {"loss": loss, **_shared.means(logits["real"], logits["fake"], self.loss.signed)}
        parts |= self.watched(turn, logits["real"])

        def scores(x: Tensor) -> Tensor:
            """D at a penalty's own x; of its shared passes, what they gave."""
            passed = {id(real): logits["real"], id(fake): logits["fake"]} if self.shared_pass else {}
            return _shared.per_example(passed[id(x)]) if id(x) in passed else self._scores(turn, x)

        for each in now:
            parts[self._part(each)] = penalty = self._penalty(each, turn, scores, real, fake)
            total = total + penalty
        return _added(total, parts, self.discriminator_terms(turn, Passes(real, fake, on_real, on_fake)))

    def _lazy_penalty(self, chosen: ChosenPenalty, turn: Turn) -> dict[str, Tensor]:
        real = self.real(turn)
        fake = self._fake(turn) if chosen.value.needs_fake else real
        penalty = self._penalty(chosen, turn, lambda x: self._scores(turn, x), real, fake)
        return {"total": penalty, "penalty": penalty}

    def _generator(self, turn: Turn) -> dict[str, Tensor]:
        fake = turn.once("fake", lambda: self.generate(turn)) if self.config.shares else self.generate(turn)
        real, on_real, of_real = None, None, None
        if self.loss.needs_real:
            real = self.real(turn)
            with torch.no_grad():
                on_real = self.outputs(turn, real, "real")
            of_real = self.logits(on_real)
        on_fake = self.outputs(turn, fake, "fake")
        loss = self.loss.generator(of_real, self.logits(on_fake))
        parts = {"loss": loss, "fake": self.logits(on_fake).detach().mean()}
        parts |= {} if of_real is None else {"real": of_real.mean()}
        total = loss if self.adversarial == 1 else self.adversarial * loss
        return _added(total, parts, self.generator_terms(turn, Passes(real, fake, on_real, on_fake)))


def _added(total: Tensor, parts: dict[str, Tensor], terms: Terms) -> dict[str, Tensor]:
    for weight, value in terms.values():
        total = total + weight * value if weight else total
    return {"total": total, **parts, **{name: value for name, (_, value) in terms.items()}}


# --- from noise -----------------------------------------------------------------------------------


N = TypeVar("N", bound=LatentSettings)


class LatentFamily(AdversarialFamily[N]):
    """`generator(z, label)` against `discriminator(x, label)`, without labels where the design is not conditional."""

    @property
    def distribution(self) -> Literal["normal", "uniform"]:
        """Of the noise."""
        return "normal"

    @property
    def latents(self) -> LatentSpec:
        return (Latent("z", (self.config.latent,), self.distribution),)

    def generate(self, turn: Turn) -> Tensor:
        return _shared.called(turn.networks["generator"], turn.latents["z"], self.label(turn))

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return _shared.called(networks["generator"], latents["z"] * truncation, self.label_of(condition))
