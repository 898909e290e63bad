"""What the designs that draw from sentences share: the encoder, the captions of a turn, and images that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import torch
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import Tensor

from pipeline import plugins
from pipeline.contract import Turn
from pipeline.contract.text_encoder import AnyTextEncoder
from pipeline.errors import UserError
from pipeline.families._adversarial import LatentFamily
from pipeline.families._settings import LatentSettings
from pipeline.types import Batch, DataSpec

ROOM = "text_encoders"
ENCODER = "encoder"
"""The name of the frozen network, published beside the generator."""

FACTOR = 6_364_136_223_846_793_005  # odd, so that no power of it is 0

T = TypeVar("T")


def _valid(value: dict[str, Any]) -> dict[str, Any]:
    plugins.configure(ROOM, value, "")
    return value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


EncoderChoice = Annotated[dict[str, Any], AfterValidator(_valid), BeforeValidator(_named)]
"""`bag_of_words`, or `{name: hashed, …its own keys}`."""


class TextSettings(LatentSettings):
    """The keys of a design of two players that draws from sentences."""

    labelled = False  # classes choose the images that do not fit; no network is given them

    encoder: EncoderChoice = Field(default={"name": "hashed"}, description="a file of pipeline/text_encoders")
    averaged_captions: int = Field(
        default=4, ge=1, description="so many of an image's captions, drawn in each step, are averaged"
    )
    projected: int = Field(default=128, ge=1, description="numbers that each network makes of the text's vector")

    @model_validator(mode="after")
    def _reads_pairs(self) -> TextSettings:
        if plugins.module("losses", str(self.loss["name"])).Loss.needs_real:
            raise ValueError(
                f"loss: {self.loss['name']} compares each real with one fake, and here a real is held against a fake "
                "and against an image that does not fit its text; take non_saturating, hinge or least_squares"
            )
        return self


S = TypeVar("S", bound=TextSettings)


class TextFamily(LatentFamily[S]):
    """A generator of noise and text, and a discriminator of images and text."""

    least_lane = 2  # an image is shown the text of another one of its lane
    _encoder_state: Mapping[str, Tensor] | None = None

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x", self._encoder_class.reads})

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({self._encoder_class.reads})

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("generator", ENCODER)

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._load_encoder().check(spec, f"families.{self.name}.encoder")

    def make_encoder(self, spec: DataSpec) -> AnyTextEncoder:
        """The frozen network that reads the data's captions."""
        found = self._load_encoder()
        found.prepare(spec)
        if self._encoder_state is not None and not any(each.is_meta for each in found.state_dict().values()):
            found.load_state_dict(dict(self._encoder_state))
        return found

    @property
    def learnt_encoder(self) -> Mapping[str, Any] | None:
        return self.config.encoder if self._encoder_class.learns else None

    def take_encoder(self, state: Mapping[str, Tensor]) -> None:
        self._encoder_state = state

    # --- the texts of a turn ---

    def text(self, turn: Turn) -> Tensor:
        """Each example's text (n, dimension): the mean of captions drawn for this batch, the same for both players."""
        stored = self._stored(turn.batch)

        def make() -> Tensor:
            chosen = drawn(stored, self.config.averaged_captions, turn.generator("captions"))
            return averaged(turn.networks[ENCODER], stored, chosen)

        return self.of_batch(turn, "text", make)

    def wrong(self, turn: Turn) -> tuple[Tensor, Tensor]:
        """For each example the number (n,) of one of the lane that its text does not fit, and whether there is one.

        An example of another class; without classes, one none of whose captions is among its own.
        """

        def make() -> tuple[Tensor, Tensor]:
            label = turn.batch.get("label")
            unlike = differing(self._stored(turn.batch)) if label is None else label[:, None] != label[None, :]
            scores = torch.rand(unlike.shape, generator=turn.generator("wrong")).to(unlike.device)
            return scores.masked_fill(~unlike, -1).argmax(1), unlike.any(1)

        return self.of_batch(turn, "wrong", make)

    def of_batch(self, turn: Turn, name: str, make: Callable[[], T]) -> T:
        """What `make` gave when it was first asked for with this batch in this step: a turn may read another one."""
        stored = self._stored(turn.batch)
        held = turn.memory.get(name)
        if held is None or held[0] is not stored:
            turn.memory[name] = held = (stored, make())
        return held[1]

    def first_text(self, networks: Any, condition: Batch) -> Tensor:
        """The vector (n, dimension) of the first caption of each sample."""
        stored = self._stored(condition)
        return networks[ENCODER](stored[:, 0])

    @property
    def _encoder_class(self) -> type[AnyTextEncoder]:
        return plugins.class_of(ROOM, str(self.config.encoder["name"]))

    def _load_encoder(self) -> AnyTextEncoder:
        return plugins.load(ROOM, self.config.encoder, f"families.{self.name}.encoder")

    def _stored(self, batch: Batch) -> Tensor:
        name = self._encoder_class.reads
        if name not in batch:
            raise UserError(f"{self.name} draws from text: it needs a batch with {name}, and was given none")
        return batch[name]


def present(stored: Tensor) -> Tensor:
    """Which captions there are, bool (n, K): rows that are not all zeros."""
    return stored.flatten(2).ne(0).any(2)


def drawn(stored: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Up to `count` of each example's captions, without repeats, as a mask (n, K)."""
    there = present(stored)
    scores = torch.rand(there.shape, generator=generator).to(stored.device).masked_fill(~there, -1)
    ranks = scores.argsort(1, descending=True).argsort(1)
    return there & (ranks < count)


def averaged(encoder: Any, stored: Tensor, chosen: Tensor) -> Tensor:
    """The mean vector (n, dimension) of each example's chosen captions; 0 where it has none."""
    vectors: Tensor = encoder(stored[chosen])
    rows = chosen.nonzero()[:, 0]
    total = vectors.new_zeros((len(stored), vectors.shape[1])).index_add_(0, rows, vectors)
    return total / chosen.sum(1, keepdim=True).clamp_min(1)


def differing(stored: Tensor) -> Tensor:
    """Which pairs of examples have no caption in common, bool (n, n)."""
    bits = stored.float().view(torch.int32).long() if stored.is_floating_point() else stored
    # Each caption as one number: a polynomial modulo 2⁶⁴, which tells any two apart that anybody writes.
    powers = torch.full((bits.shape[2],), FACTOR, dtype=torch.int64, device=stored.device).cumprod(0)
    numbers = (bits * powers).sum(2)
    same = numbers[:, None, :, None] == numbers[None, :, None, :]
    there = present(stored)
    return ~(same & there[:, None, :, None] & there[None, :, None, :]).flatten(2).any(2)


def interpolated(text: Tensor, share: float = 0.5) -> Tensor:
    """β·t₁ + (1 − β)·t₂ of the i-th of the first half and the i-th of the second half: (n // 2, dimension)."""
    half = len(text) // 2
    return share * text[:half] + (1 - share) * text[half : 2 * half]
