"""Mean, spread and range of each field over the training examples: float64 sums, taken in one fixed order.

Examples are summed one after the other within their shard, and shards in their order, by the rule of Chan, Golub and
LeVeque (1979), which loses no digits where the mean is far from 0. So the number of workers changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.captions import FIELD
from pipeline.data.caption_counts import CaptionCounts
from pipeline.data.derived import Derived
from pipeline.types import Array, DataSpec, DataSummary, Example, FieldSpec, FieldSummary

MOST_CHANNELS = 16_384  # beyond, a field has one mean for all of it
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """What is known of some examples of one field, as stored: a number a channel each, (channels,).

    count: values of one channel. squares: the sum of squared differences from the mean.
    """

    count: int
    mean: Numbers
    squares: Numbers
    least: Numbers
    most: Numbers

    @classmethod
    def of(cls, spec: FieldSpec, values: Array) -> Sums:
        """Those of one example."""
        flat = values.reshape(channels(spec), -1).astype(np.float64)
        mean = flat.mean(axis=1)
        return cls(flat.shape[1], mean, ((flat - mean[:, None]) ** 2).sum(axis=1), flat.min(axis=1), flat.max(axis=1))

    def plus(self, other: Sums) -> Sums:
        """Those of both."""
        count, apart = self.count + other.count, other.mean - self.mean
        return Sums(
            count,
            self.mean + apart * (other.count / count),
            self.squares + other.squares + apart**2 * (self.count * other.count / count),
            np.minimum(self.least, other.least),
            np.maximum(self.most, other.most),
        )


def channels(spec: FieldSpec) -> int:
    """How many means a field has: one for each index of its first axis, of a spectrogram also of its frequencies."""
    found = math.prod(spec.shape[: 2 if spec.kind == "spectrogram" else 1])
    return found if found <= MOST_CHANNELS else 1


def measurable(fields: Iterable[FieldSpec]) -> tuple[FieldSpec, ...]:
    """The fields that have a mean: all but those whose whole numbers are names of something."""
    return tuple(each for each in fields if each.dtype != "int64" and each.kind != "text")


@dataclass
class Watch:
    """Sums what goes by, and what is derived of it; `sums` by the field's name.

    first: the number of the first example in its split.
    """

    fields: tuple[FieldSpec, ...]
    derived: Derived
    first: int = 0
    sums: dict[str, Sums] = field(default_factory=lambda: {})

    def over(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The same examples, looked at one by one."""
        names = [each.name for each in self.derived.fields]
        for number, example in enumerate(examples, self.first):
            held = {"x": example.x, **example.extra}
            made = self.derived.computed({name: each[None] for name, each in held.items()}, np.array([number]), names)
            held |= {name: each[0] for name, each in made.items()}
            self.sums = merged(self.sums, {each.name: Sums.of(each, held[each.name]) for each in self.fields})
            yield example


def merged(first: Mapping[str, Sums], second: Mapping[str, Sums]) -> dict[str, Sums]:
    """The sums over both sets of examples; either may be empty."""
    if not first or not second:
        return dict(first or second)
    return {name: sums.plus(second[name]) for name, sums in first.items()}


def summary(
    spec: DataSpec, train: Mapping[str, Sums], other: Mapping[str, Sums], captions: CaptionCounts | None = None
) -> DataSummary | None:
    """What batches of `train`, and of the other domain's, hold on average; None without examples.

    captions: of train. A field with NaN or infinite values has no summary.
    """
    found = {each.name: _in_batches(each, train[each.name]) for each in (spec.x, *spec.fields) if each.name in train}
    if spec.other_domain is not None and "x" in other:
        found[spec.other_domain.name] = _in_batches(spec.other_domain, other["x"])
    finite = {name: each for name, each in found.items() if all(map(math.isfinite, (*each.mean, *each.std)))}
    texts = {FIELD: captions.summary()} if captions is not None and captions.captions else {}
    return DataSummary(finite, texts) if finite or texts else None


def _in_batches(spec: FieldSpec, sums: Sums) -> FieldSummary:
    """Stored values → those of batches, which are `scale` times as large, and moved."""
    scale, moved = spec.scaling
    std = np.sqrt(sums.squares / sums.count) * scale
    mean, least, most = (values * scale + moved for values in (sums.mean, sums.least, sums.most))
    return FieldSummary(*(tuple(map(float, values)) for values in (mean, std, least, most)))
