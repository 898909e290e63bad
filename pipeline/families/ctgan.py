"""CTGAN: rows of mixed tables, their numbers by modes, their categories by turns of a condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.contract import Latent, LatentSpec, Networks, Optimiser, Turn
from pipeline.errors import SettingsError
from pipeline.families import _choices, _shared
from pipeline.families._adversarial import LatentFamily, Passes, Terms
from pipeline.families._choices import LossChoice, PenaltyChoices, Width
from pipeline.families._settings import LatentSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.ctgan import PackedCritic, TableGenerator
from pipeline.networks.layers.table_codec import Codec, chances, chosen, missed, places
from pipeline.types import Batch, Column, DataSpec, Modality, Mode

ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.9, weight_decay=1e-6)


class Config(LatentSettings):
    """Xu et al. 2019, as the authors' program has it; the published batch is 500."""

    conditional: bool = Field(
        default=False, description="the class is one more column of categories, which a sample is asked for"
    )
    latent: int = Field(default=128, ge=1, description="numbers of noise")
    generator_widths: tuple[Width, ...] = Field(default=(256, 256), min_length=1)
    discriminator_widths: tuple[Width, ...] = Field(default=(256, 256), min_length=1)
    keep_hidden: float = Field(default=0.5, gt=0, le=1, description="share of D's hidden units that dropout keeps")
    pac: int = Field(default=10, ge=1, description="rows that D sees at once; batch_size / lanes must be a multiple")
    temperature: float = Field(default=0.2, gt=0, description="of the Gumbel-softmax")
    log_frequency: bool = Field(
        default=True, description="ask for a category by the logarithm of its frequency, not by the frequency"
    )
    pool: int = Field(
        default=16, ge=1, description="rows of each category that a lane keeps, for batches that have none of it"
    )
    loss: LossChoice = Field(default={"name": "wasserstein"}, description="a file of pipeline/losses")
    penalties: PenaltyChoices = Field(default=({"name": "gradient_penalty"},), description="of pipeline/penalties")
    generator: Optimiser = ADAM
    discriminator: Optimiser = ADAM

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.augment:
            raise ValueError(f"augment: {self.augment['name']} changes images, and these are rows; leave it out")
        _choices.check_bounded(self.loss, self.penalties)
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "adult": {},
    "zoo": {"generator_widths": [128, 128], "discriminator_widths": [128, 128], **both(lr=5e-4)},
    "smoke": {
        "latent": 8,
        "generator_widths": [16],
        "discriminator_widths": [16],
        "pac": 2,
        "pool": 2,
        **both(lr=1e-3),
    },
}


def _adult() -> tuple[Column, ...]:
    """Six columns of numbers with 46 modes in all, nine of categories with 104."""
    numbers = [Column(f"number {k}", modes=(Mode(0.0, 1.0, 1 / n),) * n) for k, n in enumerate((8, 8, 8, 8, 7, 7))]
    sizes = (9, 16, 7, 15, 6, 5, 2, 42, 2)
    return (*numbers, *(Column(f"category {k}", tuple(map(str, range(n)))) for k, n in enumerate(sizes)))


CANON: dict[str, Canon] = {
    "adult": Canon(
        "CTGAN, 156 numbers a row, 104 of them categories",
        (110,),
        modality="rows",
        counts=(302_076, 731_905),
        columns=_adult(),
    )
}


class Family(LatentFamily[Config]):
    """“Modeling tabular data using conditional GAN”, Xu et al. 2019.

    A number is seen as one mode of its column's mixture and its place in it, (value − μ) / 4σ (section 4.2). Each
    sample is asked for one category of one column, chosen by the logarithm of its frequency; the generator adds the
    cross-entropy of what it gives there, and the critic, of packs of ten rows (PacGAN), is shown real rows of the same
    categories (section 4.3): WGAN-GP, E[D(G)] − E[D(x)] + 10·E[(‖∇D(x̂)‖ − 1)²]. Good for: tables of numbers and
    categories together, such as health records and surveys; rare categories.

    The paper draws real rows of a category from the whole table. Here they are those of the batch; where it has none of
    this category, of the rows that the lane has kept (`pool`).
    """

    paper = "Xu, Skoularidou, Cuesta-Infante, Veeramachaneni 2019, arXiv:1907.00503"
    modality: ClassVar[Modality] = "rows"

    def latents_for(self, spec: DataSpec) -> LatentSpec:
        """Besides z, uniform noise for the Gumbel-softmax, and for the condition of a sample that is asked for none."""
        codec = Codec.of(spec, self.count_classes(spec))
        return (*self.latents, Latent("gumbel", (codec.width,), "uniform"), Latent("asked", (2,), "uniform"))

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        _shared.check_columns(self.name, spec)
        bare = [column.name for column in spec.columns if not column.categories and not column.modes]
        if bare:
            raise SettingsError(
                f"families.{self.name}: reads numbers by the modes of their columns, and '{bare[0]}' has none; set "
                "ingest.source.modes: 10"
            )

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, codec = self.config, Codec.of(spec, self.count_classes(spec))
        inputs = (codec.width + codec.asked) * config.pac
        return {
            "generator": TableGenerator(config.latent, config.generator_widths, codec, config.temperature),
            "discriminator": PackedCritic(inputs, config.discriminator_widths, config.keep_hidden),
        }

    def check_lane(self, size: int) -> None:
        if size % self.config.pac:
            raise SettingsError(
                f"families.{self.name}.pac: D sees {self.config.pac} rows at once, and a lane has {size} "
                "(train.batch_size / train.lanes); set one of them so that it is a multiple"
            )

    def lane_state(self, spec: DataSpec, lane_size: int) -> dict[str, Tensor]:
        """The last rows of each category that this lane has seen, with their classes, and how many it has seen."""
        asked = Codec.of(spec, self.count_classes(spec)).asked
        rows = torch.zeros(asked, self.config.pool, spec.size + 1)
        return {"rows": rows, "seen": torch.zeros(asked, dtype=torch.int64)}

    # --- the game ---

    def real(self, turn: Turn) -> Tensor:
        codec, x, label = self._codec(turn.networks), _shared.real_of(turn), self.label(turn)
        asked = self._asked(turn)
        if asked is not None:
            # The paper shuffles the conditions: no pack of reals has those of a pack of fakes.
            order = torch.randperm(len(x), generator=turn.generator("order")).to(x.device)
            column, code = (each[order] for each in asked)
            x, label = self._rows_of(turn, places(codec, column, code))
            asked = column, code
        encoded = codec.encoded(x, label, turn.generator("modes"))
        return self._packed(torch.cat([encoded, self._condition(codec, asked, x)], 1))

    def generate(self, turn: Turn) -> Tensor:
        row = self._made(turn)[1]
        return self._packed(torch.cat([row, self._condition(self._codec(turn.networks), self._asked(turn), row)], 1))

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        return turn.networks["discriminator"](x, turn.generator(f"dropout/{purpose}"))

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        asked = self._asked(turn)
        if asked is None:
            return {}
        return {"condition": (1.0, missed(self._codec(turn.networks), self._made(turn)[0], *asked))}

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """Rows (n, F) in the units of x; without a class, one category of each is asked for by its frequency."""
        codec, z = self._codec(networks), latents["z"] * truncation
        label = self.label_of(condition)
        wanted = z.new_zeros(len(z), codec.asked)
        if label is not None:
            one_hot = label if label.is_floating_point() else F.one_hot(label, codec.classes)
            wanted = torch.cat([wanted[:, codec.classes :], one_hot.to(z.dtype)], 1)
        elif codec.asked:
            weights = chances(codec, logarithmic=False).to(z.device)
            uniform = ((latents["asked"] + 1) / 2).clamp(0, 1)
            wanted = self._condition(codec, chosen(codec, uniform, weights), z)
        _, row = networks["generator"](z, wanted, latents["gumbel"])
        return codec.rows(row)

    # --- parts ---

    def _codec(self, networks: Networks) -> Codec:
        return cast(TableGenerator, networks["generator"]).codec

    def _packed(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(rows) // self.config.pac, -1)

    def _made(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """This turn's row before and after its activations, made once."""

        def make() -> tuple[Tensor, Tensor]:
            z, codec = turn.latents["z"], self._codec(turn.networks)
            condition = self._condition(codec, self._asked(turn), z)
            return turn.networks["generator"](z, condition, turn.latents["gumbel"])

        return turn.once(self._key(turn, "made"), make)

    def _key(self, turn: Turn, what: str) -> str:
        # Players that share their fakes share what these were asked for.
        return what if self.config.shares else f"{turn.phase}/{turn.repeat}/{what}"

    def _asked(self, turn: Turn) -> tuple[Tensor, Tensor] | None:
        """The columns and categories that this turn's samples are asked for; None in a table without categories."""
        codec = self._codec(turn.networks)
        if not codec.asked:
            return None

        def draw() -> tuple[Tensor, Tensor]:
            x = _shared.real_of(turn)
            self._keep(turn, codec, x)
            weights = chances(codec, self.config.log_frequency)
            for row, span in zip(weights, codec.discrete, strict=True):
                seen = turn.lane_state["seen"][span.condition : (span.condition or 0) + span.width].cpu()
                row[: span.width] *= seen > 0
                row[: span.width] += (row.sum() == 0) * (seen > 0)
            uniform = torch.rand(len(x), 2, generator=turn.generator("asked"))
            column, code = chosen(codec, uniform, weights)
            return column.to(x.device), code.to(x.device)

        return turn.once(self._key(turn, "asked"), draw)

    def _condition(self, codec: Codec, asked: tuple[Tensor, Tensor] | None, like: Tensor) -> Tensor:
        """What is asked for as numbers (n, asked): 1 at the category, 0 elsewhere."""
        if asked is None:
            return like.new_zeros(len(like), 0)
        return F.one_hot(places(codec, *asked), codec.asked).to(like.dtype)

    def _held(self, turn: Turn, codec: Codec) -> tuple[Tensor, Tensor]:
        """The batch's rows with their classes (n, F + 1), and which categories each has (n, asked)."""
        x, label = _shared.real_of(turn), self.label(turn)
        codes = codec.codes(x, label)
        column = torch.arange(codes.shape[1], device=x.device).expand_as(codes)
        has = F.one_hot(places(codec, column.flatten(), codes.flatten()), codec.asked)
        rows = torch.cat([x, (torch.zeros(len(x), device=x.device) if label is None else label)[:, None]], 1)
        return rows, has.view(*codes.shape, -1).sum(1) > 0

    def _keep(self, turn: Turn, codec: Codec, x: Tensor) -> None:
        """Put the batch's rows in the place of the oldest of their categories, once a batch."""

        def put() -> bool:
            rows, has = self._held(turn, codec)
            kept, seen = turn.lane_state["rows"], turn.lane_state["seen"]
            for place in has.any(0).nonzero().flatten().tolist():
                mine = has[:, place].nonzero().flatten()
                order = (seen[place] + torch.arange(len(mine), device=x.device)) % self.config.pool
                newest = slice(max(0, len(mine) - self.config.pool), None)
                kept[place, order[newest]] = rows[mine[newest]]
                seen[place] += len(mine)
            return True

        turn.once(f"kept/{turn.state.examples_seen}", put)

    def _rows_of(self, turn: Turn, wanted: Tensor) -> tuple[Tensor, Tensor | None]:
        """A row of each category (n,): of the batch if it has one, else of those that were kept; and its class."""
        codec = self._codec(turn.networks)
        rows, has = self._held(turn, codec)
        order = has.t().nonzero()[:, 1]
        counts = has.sum(0)
        starts = counts.cumsum(0) - counts
        uniform = torch.rand(len(wanted), generator=turn.generator("rows")).to(wanted.device)
        here = starts[wanted] + (uniform * counts[wanted]).long().clamp(max=(counts[wanted] - 1).clamp(min=0))
        kept = turn.lane_state["seen"][wanted].clamp(1, self.config.pool)
        old = turn.lane_state["rows"][wanted, (uniform * kept).long().clamp(max=kept - 1)]
        found = torch.where((counts[wanted] > 0)[:, None], rows[order[here.clamp(max=len(order) - 1)]], old)
        return found[:, :-1], found[:, -1].long() if self.config.conditional else None
