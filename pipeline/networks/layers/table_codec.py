"""Rows of x as CTGAN's networks see them: of a number its mode and its place in it, of a category one number each."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.types import Column, DataSpec

WIDTHS = 4.0  # deviations of a mode that stand for 1
EDGE = 0.99
DOUBT = 1e-6  # added to each mode's responsibility before one is drawn


@dataclass(frozen=True)
class Span:
    """`width` numbers of the encoded row from `start` on: a softmax over categories, or over modes.

    place: in x, where the numbers that it stands for begin. condition: where its categories begin in the condition;
    None for modes, which are never asked for. counts: of rows of each category; empty where nobody counted.
    """

    start: int
    width: int
    place: int
    condition: int | None = None
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Number:
    """A column of numbers: `place` in x, `start` of its value and then its modes in the encoded row."""

    place: int
    start: int
    column: Column


@dataclass
class Codec:
    """The encoded row of a table, and the condition: one number a category of all columns of categories.

    A masked column of numbers has beside its modes a column of two categories, given and missing. classes: one more
    column of categories, which is no part of x.
    """

    columns: tuple[Column, ...]
    classes: int = 0
    numbers: list[Number] = field(default_factory=lambda: [])
    spans: list[Span] = field(default_factory=lambda: [])
    width: int = 0
    asked: int = 0

    @classmethod
    def of(cls, spec: DataSpec, classes: int) -> Codec:
        """The codec of this data."""
        found = cls(spec.columns, classes)
        places = accumulate((column.width for column in spec.columns), initial=0)
        for column, place in zip(spec.columns, places, strict=False):
            if column.categories:
                found._discrete(len(column.categories), place, column.counts)
                continue
            found.numbers.append(Number(place, found.width, column))
            found.width += 1
            found.spans.append(Span(found.width, len(column.modes), place))
            found.width += len(column.modes)
            if column.masked:
                found._discrete(2, place, column.counts)
        if classes:
            found._discrete(classes, -1, ())
        return found

    def _discrete(self, width: int, place: int, counts: tuple[int, ...]) -> None:
        self.spans.append(Span(self.width, width, place, self.asked, counts))
        self.width += width
        self.asked += width

    @property
    def discrete(self) -> list[Span]:
        """The columns of categories, in the order of the condition."""
        return [span for span in self.spans if span.condition is not None]

    def codes(self, x: Tensor, label: Tensor | None) -> Tensor:
        """x (n, F) and label (n,) → the category of each row in each column of categories, (n, columns), from 0 on."""
        masked = {number.place for number in self.numbers if number.column.masked}
        found: list[Tensor] = []
        for span in self.discrete:
            if span.place < 0:
                assert label is not None  # the check of classes has passed
                found.append(label)
            elif span.place in masked:
                found.append((x[:, span.place + 1] > 0.5).long())
            else:
                found.append(x[:, span.place : span.place + span.width].argmax(1))
        return torch.stack(found, 1) if found else torch.zeros(len(x), 0, dtype=torch.long, device=x.device)

    def encoded(self, x: Tensor, label: Tensor | None, generator: torch.Generator) -> Tensor:
        """x (n, F) → (n, width); each number's mode is drawn by its responsibility."""
        found = x.new_zeros(len(x), self.width)
        codes = self.codes(x, label)
        for code, span in zip(codes.unbind(1), self.discrete, strict=True):
            found[:, span.start : span.start + span.width] = F.one_hot(code, span.width).to(x.dtype)
        for number in self.numbers:
            means, stds, weights = _mixture(number.column, x)
            value = x[:, number.place, None]
            density = weights.log() - stds.log() - 0.5 * ((value - means) / stds).square()
            shares = density.softmax(1) + DOUBT
            drawn = torch.rand(len(x), 1, generator=generator).to(x.device) * shares.sum(1, keepdim=True)
            mode = (shares.cumsum(1) < drawn).sum(1).clamp_(max=len(means) - 1)
            place = (value[:, 0] - means[mode]) / (WIDTHS * stds[mode])
            found[:, number.start] = place.clamp(-EDGE, EDGE)
            found[:, number.start + 1 : number.start + 1 + len(means)] = F.one_hot(mode, len(means)).to(x.dtype)
        return found

    def activated(self, raw: Tensor, uniform: Tensor, temperature: float) -> Tensor:
        """G's numbers (n, width) with tanh at values, and Gumbel-softmax at modes and categories.

        uniform: (n, width) over (−1, 1), of which the Gumbel noise is made.
        """
        noise = -torch.log(-torch.log(((uniform + 1) / 2).clamp(1e-7, 1 - 1e-7)))
        parts = {number.start: raw[:, number.start : number.start + 1].tanh() for number in self.numbers}
        for span in self.spans:
            mine = slice(span.start, span.start + span.width)
            parts[span.start] = ((raw[:, mine] + noise[:, mine]) / temperature).softmax(1)
        return torch.cat([parts[start] for start in sorted(parts)], 1)

    def rows(self, encoded: Tensor) -> Tensor:
        """(n, width) → x (n, F): of modes and categories the largest; the class is left out."""
        size = sum(column.width for column in self.columns)
        found = encoded.new_zeros(len(encoded), size)
        for span in self.discrete:
            if span.place >= 0:
                code = encoded[:, span.start : span.start + span.width].argmax(1)
                found[:, span.place : span.place + span.width] = F.one_hot(code, span.width).to(encoded.dtype)
        for number in self.numbers:  # behind the masks, which stand at the same place
            means, stds, _ = _mixture(number.column, encoded)
            mode = encoded[:, number.start + 1 : number.start + 1 + len(means)].argmax(1)
            value = encoded[:, number.start] * WIDTHS * stds[mode] + means[mode]
            if number.column.masked:
                value = value * (1 - found[:, number.place + 1])
            found[:, number.place] = value
        return found


def _mixture(column: Column, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means, deviations and weights (modes,) of a column."""
    held = [[mode.mean, mode.std, mode.weight] for mode in column.modes]
    means, stds, weights = like.new_tensor(held).unbind(1)
    return means, stds, weights


# --- conditions -----------------------------------------------------------------------------------


def chances(codec: Codec, logarithmic: bool) -> Tensor:
    """How likely each category of each column is chosen, (columns, most categories): by its frequency or its logarithm.

    Where nobody counted, all categories of a column alike. Padded with 0.
    """
    spans = codec.discrete
    found = torch.zeros(len(spans), max((span.width for span in spans), default=0))
    for row, span in zip(found, spans, strict=True):
        counts = torch.tensor(span.counts or (1,) * span.width, dtype=torch.float32)
        row[: span.width] = (counts + 1).log() if logarithmic else counts
    return found


def chosen(codec: Codec, uniform: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """A column (n,), each alike, and a category of it (n,) by `weights` (columns, most); uniform: (n, 2) in [0, 1)."""
    count = len(codec.discrete)
    column = (uniform[:, 0] * count).long().clamp_(max=count - 1)
    cumulative = weights[column].cumsum(1)
    target = uniform[:, 1:] * cumulative[:, -1:]
    code = (cumulative <= target).sum(1)
    widths = torch.tensor([span.width for span in codec.discrete], device=uniform.device)
    return column, torch.minimum(code, widths[column] - 1)


def places(codec: Codec, column: Tensor, code: Tensor) -> Tensor:
    """Where the categories stand in the condition, (n,)."""
    starts = torch.tensor([span.condition for span in codec.discrete], device=column.device)
    return starts[column] + code


def missed(codec: Codec, raw: Tensor, column: Tensor, code: Tensor) -> Tensor:
    """Σ over rows of the cross-entropy of the column that was asked for, over n (Xu et al. 2019, section 4.3)."""
    total = raw.new_zeros(())
    for number, span in enumerate(codec.discrete):
        mine = column == number
        wanted = torch.where(mine, code, torch.zeros_like(code))
        each = F.cross_entropy(raw[:, span.start : span.start + span.width], wanted, reduction="none")
        total = total + (each * mine).sum()
    return total / len(raw)
