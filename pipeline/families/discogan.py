"""DiscoGAN: two domains without pairs, related by what survives the way there and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import (
    LatentSpec,
    Networks,
    Optimiser,
    Phase,
    Player,
    Ramp,
    Resizing,
    Scheduled,
    State,
    Turn,
    scheduled_value,
)
from pipeline.families import _shared, _translation
from pipeline.families._adversarial import AugmentingFamily
from pipeline.families._choices import LossChoice
from pipeline.families._settings import LossSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.discogan import LAST, DiscoDiscriminator, DiscoPlan, DiscoTranslator
from pipeline.types import Batch, DataSpec

BATCH = 64
SIDES = ("forth", "back")
"""Forth: from the `unpaired` domain to that of x. Back: from x to the `unpaired`."""

ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.999, weight_decay=1e-5)


class Config(LossSettings):
    """Kim et al. 2017 by their code: 64 pixels, batches of 64; a ramp of one example is a step."""

    width: int = Field(
        default=64, ge=1, description="maps of the first halving, of all networks; doubled up to 8 times"
    )
    halvings: int = Field(default=4, ge=2, le=8, description="of all networks; sides must be 4·2^halvings or more")
    extra_layers: bool = Field(default=False, description="a code of 100 maps in the middle of the translators")
    reconstruction: Scheduled = Field(
        default=Ramp(start=0.01, end=0.5, after=10_000 * BATCH, examples=1),
        description="share r of the distance after there and back in the generators' total, on the clock of examples; "
        "the rest is (1 - r) times the game and the features",
    )
    adversarial: float = Field(default=0.1, ge=0, description="weight of the loss, before (1 - r)")
    features: float = Field(default=0.9, ge=0, description="weight of feature matching, before (1 - r)")
    discriminator_every: int = Field(
        default=3, ge=2, description="the discriminators move in every so many steps, the generators in all others"
    )
    loss: LossChoice = Field(default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses")
    generator: Optimiser = Field(default=ADAM, description="of both generators")
    discriminator: Optimiser = Field(default=ADAM, description="of both discriminators")


PRESETS: dict[str, dict[str, Any]] = {
    "images64": {},
    "images64_extra": {"extra_layers": True},
    "zoo": {"width": 24, "reconstruction": {"start": 0.01, "end": 0.5, "after": 16_000, "examples": 1}},
    "smoke": {
        "width": 6,
        "halvings": 2,
        "reconstruction": {"start": 0.01, "end": 0.5, "after": 64, "examples": 1},
        **both(lr=1e-3),
    },
}

_SPEC: dict[str, Any] = {"shape": (3, 64, 64), "fields": (("unpaired", (3, 64, 64)),)}

CANON: dict[str, Canon] = {
    "images64": Canon(
        "DiscoGAN 64 px, per direction (plain)", **_SPEC, counts=(5_513_856, 2_765_568, 5_513_856, 2_765_568)
    ),
    "images64_extra": Canon(
        "DiscoGAN 64 px, per direction (extra_layers)", **_SPEC, counts=(7_153_480, 2_765_568, 7_153_480, 2_765_568)
    ),
}


class Family(AugmentingFamily[Config]):
    """“Learning to discover cross-domain relations with generative adversarial networks”, Kim et al. 2017.

    With a from the `unpaired` domain and b = `x`, F: a → b (forth) and B: b → a (back), both generators minimise the
    sum over the two directions of (1 − r)·[0.1·E[−log D_b(F(a))] + 0.9·Σ_l ‖E f_l(b) − E f_l(F(a))‖²/n_l]
    + r·E(B(F(a)) − a)² (equations 1 to 8, with the weights of the authors' code), f_l being D's maps at the halvings
    behind the first; each discriminator −½E[log D(real)] − ½E[log(1 − D(fake))]. r is 0.01 for 10,000 steps, then 0.5.
    Good for: pairs of domains whose shapes differ, where cyclegan leaves shapes alone.

    The discriminators move in every third step and the generators in all others, never both. Images lie in [0, 1]
    inside. The means of features are those of a lane. Samples are F's of images that the evaluation hands in,
    by the averaged statistics of batch norm, so that each is its own; the authors sample by those of the batch.
    """

    paper = "Kim, Cha, Kim, Lee, Kim 2017, arXiv:1703.05192"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "unpaired"})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({"unpaired"})

    @property
    def resizing(self) -> Resizing:
        multiple = 2**self.config.halvings
        return Resizing(multiple=multiple, least=multiple * (LAST if self.config.extra_layers else 1))

    @property
    def latents(self) -> LatentSpec:
        return ()

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("generator_forth", "generator_back")

    def check(self, spec: DataSpec) -> None:
        _shared.check_modality(self.name, "image", spec)
        _translation.check_halvings(self.name, spec, "unpaired", self.config.halvings, LAST)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        other = _translation.other_shape(spec, "unpaired")[0]
        networks: dict[str, nn.Module] = {}
        for side, inputs, outputs in (("forth", other, spec.channels), ("back", spec.channels, other)):
            plan = DiscoPlan(inputs, outputs, config.width, config.halvings, config.extra_layers)
            networks[f"generator_{side}"] = DiscoTranslator(plan)
            networks[f"discriminator_{side}"] = DiscoDiscriminator(outputs, config.width, config.halvings)
        return networks

    def players(self) -> tuple[Player, ...]:
        return tuple(
            Player(f"{who}s", tuple(f"{who}_{side}" for side in SIDES), optimiser)
            for who, optimiser in (("discriminator", self.config.discriminator), ("generator", self.config.generator))
        )

    def phases(self) -> tuple[Phase, ...]:
        every = self.config.discriminator_every

        def otherwise(state: State) -> bool:
            return state.step % every != 0

        return (
            Phase("discriminators", "discriminators", self._discriminators, every=every),
            Phase("generators", "generators", self._generators, when=otherwise),
        )

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        x = _translation.field_of(condition, "unpaired", self.name)
        return 2 * networks["generator_forth"](_shared.unit(x)) - 1

    def procedures(self) -> dict[str, Callable[..., Any]]:
        """`back`: the other direction, x (n, C, H, W) → the `unpaired` domain, both in [−1, 1]."""
        return {"back": lambda networks, x: 2 * networks["generator_back"](_shared.unit(x)) - 1}

    # --- objectives ---

    def _reals(self, turn: Turn) -> dict[str, Tensor]:
        """What lies where each direction leads, in [0, 1]."""
        unpaired = _translation.field_of(turn.batch, "unpaired", self.name)
        return {"forth": _shared.unit(_shared.real_of(turn)), "back": _shared.unit(unpaired)}

    def _seen(self, turn: Turn, side: str, x: Tensor, purpose: str) -> tuple[Tensor, list[Tensor]]:
        """What a direction's discriminator makes of x, which it sees augmented."""
        return turn.networks[f"discriminator_{side}"](self.augmented(turn, x, f"{purpose}_{side}"))

    def _generators(self, turn: Turn) -> dict[str, Tensor]:
        config, reals, networks = self.config, self._reals(turn), turn.networks
        fakes = {side: networks[f"generator_{side}"](reals[_other(side)]) for side in SIDES}
        rate = scheduled_value(config.reconstruction, turn.state.examples_seen)
        total, parts = reals["forth"].new_zeros(()), dict[str, Tensor]()
        for side in SIDES:
            real, fake = reals[side], fakes[side]
            with torch.no_grad():  # a generator's gradient ends at its own samples
                on_real, real_maps = self._seen(turn, side, real, "real")
            on_fake, fake_maps = self._seen(turn, side, fake, "fake")
            loss = self.loss.generator(on_real if self.loss.needs_real else None, on_fake)
            matched = matching(real_maps, fake_maps)
            again = networks[f"generator_{_other(side)}"](fake)
            back = (again - reals[_other(side)]).square().mean()
            parts |= {f"adversarial_{side}": loss, f"features_{side}": matched, f"reconstruction_{side}": back}
            total = total + (1 - rate) * (config.adversarial * loss + config.features * matched) + rate * back
        return {"total": total, **parts}

    def _discriminators(self, turn: Turn) -> dict[str, Tensor]:
        reals = self._reals(turn)
        total, parts = reals["forth"].new_zeros(()), dict[str, Tensor]()
        for side in SIDES:
            given = reals[_other(side)]
            with torch.no_grad():
                fake = turn.networks[f"generator_{side}"](given)
            on_real, _ = self._seen(turn, side, reals[side], "real")
            on_fake, _ = self._seen(turn, side, fake, "fake")
            loss = self.loss.discriminator(on_real, on_fake)
            parts |= {f"loss_{side}": loss, f"real_{side}": on_real.detach().mean()}
            parts[f"fake_{side}"] = on_fake.detach().mean()
            watched = self.watched(turn, on_real)
            parts |= {name if name == "augment_p" else f"{name}_{side}": value for name, value in watched.items()}
            total = total + loss
        return {"total": total, **parts}


def matching(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Σ over levels of the mean over places of (E over the batch of real − of fake)², of maps (n, c, h, w)."""
    levels = [(a.mean(0) - b.mean(0)).square().mean() for a, b in zip(real, fake, strict=True)]
    return sum(levels[1:], levels[0])


def _other(side: str) -> str:
    return "back" if side == "forth" else "forth"
