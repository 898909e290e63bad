"""CycleGAN: two domains without pairs; there and back again must end where it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import LatentSpec, Networks, Optimiser, Phase, Player, Resizing, Turn
from pipeline.errors import SettingsError
from pipeline.families import _choices, _shared, _translation
from pipeline.families._adversarial import AugmentingFamily
from pipeline.families._choices import LossChoice, PenaltyChoices
from pipeline.families._settings import RENAMED, LossSettings
from pipeline.families._shared import Canon, both
from pipeline.families._translation import ADAM, Jitter, fading
from pipeline.networks.architectures.cyclegan import Translator, TranslatorPlan
from pipeline.networks.architectures.pix2pix import PatchDiscriminator, PatchPlan
from pipeline.networks.blocks.image_pool import empty_pool, exchange
from pipeline.networks.layers import init
from pipeline.types import Batch, DataSpec

MULTIPLE = 4
SIDES = ("forth", "back")
"""Forth: from the `unpaired` domain to that of x. Back: from x to the `unpaired`."""


class Config(LossSettings):
    """Zhu et al. 2017: residual translators with instance norm, 70×70 PatchGANs; sides must be multiples of 4."""

    renamed: ClassVar[Mapping[str, str]] = {**RENAMED, "generators": "generator", "discriminators": "discriminator"}

    generator_width: int = Field(default=64, ge=1, description="maps at full resolution")
    blocks: int = Field(default=9, ge=0, le=32, description="residual blocks: 9 at 256 px, 6 at 128")
    discriminator_width: int = Field(default=64, ge=1)
    discriminator_layers: int = Field(default=3, ge=0, le=6, description="strided convolutions; 0: a pixel at a time")
    cycle: float = Field(default=10.0, ge=0, description="weight of the L1 distance after there and back")
    identity: float = Field(
        default=0.5, ge=0, description="weight, in cycles, of leaving alone what is in the target domain already"
    )
    adversarial: float = Field(
        default=2.0, gt=0, description="weight of the generators' loss: the authors' least squares are without the ½"
    )
    pool: int = Field(default=50, ge=0, description="earlier fakes that each discriminator may be shown, in each lane")
    loss: LossChoice = Field(default={"name": "least_squares"}, description="a file of pipeline/losses")
    penalties: PenaltyChoices = Field(default=(), description="of pipeline/penalties, on both discriminators")
    init_std: float = Field(default=0.02, gt=0, description="N(0, std) for all weights")
    jitter: Jitter | None = Field(default=Jitter(), description="each image for itself, in training; null: none")
    generator: Optimiser = Field(default=ADAM, description="of both generators")
    discriminator: Optimiser = Field(default=ADAM, description="of both discriminators")

    @model_validator(mode="after")
    def _fits(self) -> Config:
        _choices.check_bounded(self.loss, self.penalties)
        for name, every in ((each["name"], each.get("every", 1)) for each in self.penalties):
            if every > 1:
                raise ValueError(f"penalties: {name} is taken at every step in this design; leave `every` out")
        return self


_SMALL: dict[str, Any] = {"jitter": None, **both(lr=5e-4)}

PRESETS: dict[str, dict[str, Any]] = {
    # 100 epochs at one rate, 100 more towards 0, in batches of one; horse2zebra's larger side has 1,334 images.
    "horse2zebra256": both(**fading(1_334)),
    "images128": {"blocks": 6},
    "zoo": {"generator_width": 16, "blocks": 3, "discriminator_width": 16, "discriminator_layers": 2, **_SMALL},
    "smoke": {
        "generator_width": 6,
        "blocks": 1,
        "discriminator_width": 8,
        "discriminator_layers": 1,
        "pool": 8,
        **_SMALL,
    },
}

CANON: dict[str, Canon] = {
    "horse2zebra256": Canon(
        "CycleGAN 256 (ResNet-9 IN; PatchGAN IN), per direction",
        (3, 256, 256),
        fields=(("unpaired", (3, 256, 256)),),
        counts=(11_378_179, 2_764_737, 11_378_179, 2_764_737),
    ),
    "images128": Canon(
        "CycleGAN ResNet-6 (128 px)",
        (3, 128, 128),
        fields=(("unpaired", (3, 128, 128)),),
        counts=(7_837_699, 2_764_737, 7_837_699, 2_764_737),
    ),
}


class Family(AugmentingFamily[Config]):
    """“Unpaired image-to-image translation using cycle-consistent adversarial networks”, Zhu et al. 2017.

    With a from the `unpaired` domain and b = `x`, F: a → b (forth) and B: b → a (back), the generators minimise
    E[(D_b(F(a)) − 1)²] + E[(D_a(B(b)) − 1)²] + 10·(E‖B(F(a)) − a‖₁ + E‖F(B(b)) − b‖₁)
    + 5·(E‖F(b) − b‖₁ + E‖B(a) − a‖₁), and each discriminator ½E[(D(real) − 1)²] + ½E[D(pooled fake)²]
    (equations 1 to 3, section 4, appendix 7.1). Good for: changing looks where no pairs can be had; shapes stay.

    One optimiser owns both generators, one both discriminators. Fakes pass a pool of earlier ones, which
    is each lane's own and lies in the checkpoint. Samples are F's, of images that the evaluation hands in.
    """

    paper = "Zhu, Park, Isola, Efros 2017, arXiv:1703.10593"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.penalties = _choices.load_penalties(config.penalties)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", "unpaired"})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({"unpaired"})

    @property
    def resizing(self) -> Resizing:
        # Mirrored margins of one at a quarter of the size need two places there.
        return Resizing(multiple=MULTIPLE, least=2 * MULTIPLE)

    @property
    def latents(self) -> LatentSpec:
        return ()

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("generator_forth", "generator_back")

    def check(self, spec: DataSpec) -> None:
        _shared.check_modality(self.name, "image", spec)
        _translation.check_planes(self.name, spec, "unpaired", MULTIPLE)
        other = _translation.other_shape(spec, "unpaired")[0]
        if self.config.identity and other != spec.channels:
            raise SettingsError(
                f"families.{self.name}.identity: {self.config.identity:g} compares the domains, and they have "
                f"{other} and {spec.channels} channels; set it to 0, or ingest.channels for both"
            )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config = self.config
        other = _translation.other_shape(spec, "unpaired")[0]
        networks: dict[str, nn.Module] = {}
        for side, inputs, outputs in (("forth", other, spec.channels), ("back", spec.channels, other)):
            plan = TranslatorPlan(inputs, outputs, config.generator_width, config.blocks)
            networks[f"generator_{side}"] = Translator(plan)
            patches = PatchPlan(outputs, config.discriminator_width, config.discriminator_layers, "instance")
            networks[f"discriminator_{side}"] = PatchDiscriminator(patches)
        init.normal(config.init_std, *networks.values())
        return networks

    def players(self) -> tuple[Player, ...]:
        discriminators = tuple(f"discriminator_{side}" for side in SIDES)
        return (
            Player("generators", self.averaged, self.config.generator),
            Player("discriminators", discriminators, self.config.discriminator),
        )

    def phases(self) -> tuple[Phase, ...]:
        """Both generators, then both discriminators on the fakes made before that step, through the pools."""
        return (
            Phase("generators", "generators", self._generators),
            Phase("discriminators", "discriminators", self._discriminators, batch="same"),
        )

    def lane_state(self, spec: DataSpec, lane_size: int) -> dict[str, Tensor]:
        shapes = {"forth": spec.shape, "back": _translation.other_shape(spec, "unpaired")}
        pools = {side: empty_pool(self.config.pool, shape) for side, shape in shapes.items()}
        return {f"{side}_{name}": tensor for side, pool in pools.items() for name, tensor in pool.items()}

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        return networks["generator_forth"](_translation.field_of(condition, "unpaired", self.name))

    def procedures(self) -> dict[str, Callable[..., Any]]:
        """`back`: the other direction, x (n, C, H, W) → the `unpaired` domain."""
        return {"back": lambda networks, x: networks["generator_back"](x)}

    # --- objectives ---

    def _reals(self, turn: Turn) -> dict[str, Tensor]:
        """What lies where each direction leads, jittered; the same for both players of a step."""
        reals = {"forth": _shared.real_of(turn), "back": _translation.field_of(turn.batch, "unpaired", self.name)}

        def jittered(side: str) -> Tensor:
            return _translation.jittered(reals[side], self.config.jitter, turn.generator(f"jitter_{side}"))

        return turn.once("reals", lambda: {side: jittered(side) for side in SIDES})

    def _fakes(self, turn: Turn) -> dict[str, Tensor]:
        """What each direction makes of the other domain; made once a step."""
        reals = self._reals(turn)
        return turn.once("fakes", lambda: {s: turn.networks[f"generator_{s}"](reals[_other(s)]) for s in SIDES})

    def _outputs(self, turn: Turn, side: str, x: Tensor, purpose: str) -> Tensor:
        """Logits of a direction's discriminator, which sees x augmented."""
        return turn.networks[f"discriminator_{side}"](self.augmented(turn, x, f"{purpose}_{side}"))

    def _scores(self, turn: Turn, side: str, x: Tensor) -> Tensor:
        return _shared.per_example(self._outputs(turn, side, x, "penalty"))

    def _generators(self, turn: Turn) -> dict[str, Tensor]:
        reals, fakes, networks = self._reals(turn), self._fakes(turn), turn.networks
        parts: dict[str, Tensor] = {}
        for side in SIDES:
            real, on_real = reals[side], None
            if self.loss.needs_real:
                on_real = _shared.without_graph(partial(self._outputs, turn, side, real, "real"))
            on_fake = self._outputs(turn, side, fakes[side], "fake")
            parts[f"adversarial_{side}"] = self.loss.generator(on_real, on_fake)
            again = networks[f"generator_{side}"](fakes[_other(side)])
            parts[f"cycle_{side}"] = (again - real).abs().mean()
            if self.config.identity:
                parts[f"identity_{side}"] = (networks[f"generator_{side}"](real) - real).abs().mean()
        weights = {
            "adversarial": self.config.adversarial,
            "cycle": self.config.cycle,
            "identity": self.config.cycle * self.config.identity,
        }
        total = sum(weights[name.partition("_")[0]] * part for name, part in parts.items())
        assert isinstance(total, Tensor)
        return {"total": total, **parts}

    def _discriminators(self, turn: Turn) -> dict[str, Tensor]:
        reals, fakes = self._reals(turn), self._fakes(turn)
        total, parts = reals["forth"].new_zeros(()), dict[str, Tensor]()
        for side in SIDES:
            pool = {name: turn.lane_state[f"{side}_{name}"] for name in ("held", "count")}
            fake = exchange(pool, fakes[side], turn.generator(f"pool_{side}"))
            on_real, on_fake = (
                self._outputs(turn, side, x, purpose) for x, purpose in ((reals[side], "real"), (fake, "fake"))
            )
            loss = self.loss.discriminator(on_real, on_fake)
            parts |= {f"loss_{side}": loss, f"real_{side}": on_real.detach().mean()}
            parts[f"fake_{side}"] = on_fake.detach().mean()
            watched = self.watched(turn, on_real)
            parts |= {name if name == "augment_p" else f"{name}_{side}": value for name, value in watched.items()}
            total = total + loss
            source = turn.generator(f"penalty_{side}")
            for each in self.penalties:
                name = "penalty" if len(self.penalties) == 1 else each.name
                scores = partial(self._scores, turn, side)
                penalty = each.value(scores, reals[side], fake, source, turn.state.examples_seen)
                parts[f"{name}_{side}"] = penalty
                total = total + penalty
        return {"total": total, **parts}


def _other(side: str) -> str:
    return "back" if side == "forth" else "forth"
