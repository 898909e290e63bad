"""Metrics: the two sides they compare, the scores they give, and the base class of every file in `metrics/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline import randomness
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.moments import Gaussian, Moments
from pipeline.contract.predictions import Predictions
from pipeline.errors import UserError
from pipeline.settings import Settings
from pipeline.types import Array, Column, Modality

Need = Literal[
    "features",
    "moments",
    "logits",
    "labels",
    "classes",
    "holdout",
    "pairs",
    "reconstructions",
    "cycles",
    "label_maps",
    "examples",
    "columns",
    "captions",
]
"""What a metric looks at; "classes": class predictions that are of the data's own classes; "pairs": samples with the
truths of their inputs; "reconstructions": pairs of held-out examples and what a design with an encoder makes of them;
"cycles": what there and back leaves of held-out examples; "label_maps": samples with the maps that they are made from;
"examples": not what an extractor saw in them, but they themselves; "columns": features that are the rows of a table as
they are; "captions": samples of sentences, beside captions to choose from."""
MetricConfig = TypeVar("MetricConfig", bound=Settings)


@dataclass(frozen=True)
class Side:
    """One set of examples or samples, as an extractor saw it.

    moments: of all of them; None where there are predictions alone. features (m, d): those rows that
    the metrics asked for, `kept` (m,) their positions, None = all. predictions: what a classifier made
    of all of them. labels (n,): -1 = none. head: the moments of the first of them, for comparisons at
    a smaller number. examples (k, *shape), as they are stored: some of them, the first samples or reals that the seed
    chose; None where no metric asked for them.
    """

    moments: Moments | Gaussian | None
    features: NDArray[Any] | None = None
    predictions: Predictions | None = None
    labels: NDArray[np.int64] | None = None
    kept: NDArray[np.int64] | None = None
    head: Moments | None = None
    examples: Array | None = None

    @classmethod
    def of(
        cls,
        features: NDArray[Any],
        logits: NDArray[Any] | None = None,
        labels: NDArray[np.int64] | None = None,
        splits: int = 1,
    ) -> Side:
        """A set that is whole in memory, or mapped into it."""
        predictions = None if logits is None else Predictions.of(logits, splits)
        return cls(Moments.of(features), features, predictions, labels)

    @property
    def count(self) -> int | None:
        """How many there are; None where foreign statistics don't tell."""
        if self.moments is not None:
            return self.moments.count
        return len(self.predictions) if self.predictions is not None else None

    def __len__(self) -> int:
        return self.count or 0

    def rows(self) -> NDArray[Any]:
        """The features that were kept, (m, d).

        Raises:
            UserError: where only sums of them are known.
        """
        if self.features is None:
            raise UserError("a metric of single features was asked of statistics alone; give images or features (.npy)")
        return self.features

    def gaussian(self) -> Moments | Gaussian:
        """Mean and covariance of all.

        Raises:
            UserError: where there are class predictions alone.
        """
        if self.moments is None:
            raise UserError("a metric of features was asked of class predictions alone")
        return self.moments

    def row_labels(self) -> NDArray[np.int64] | None:
        """The labels of `rows()`."""
        return self.labels if self.labels is None or self.kept is None else self.labels[self.kept]

    def some(self, count: int, seed: int, purpose: str) -> NDArray[Any]:
        """A seeded choice of `count` kept rows, in their order; all of them where there are no more."""
        rows = self.rows()
        return rows if count >= len(rows) else rows[randomness.choose(len(rows), count, seed, purpose)]


@dataclass(frozen=True)
class PairBlock:
    """Samples and what each ought to be, uint8 (n, C, H, W); given: what they were made from, where it is an image.

    given has the truths' size, and their channels or one.
    """

    made: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    given: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Pairs:
    """Samples of a design with inputs, each beside its truth; of one with an encoder, reconstructions and originals.

    count: how many there are. blocks: the first of them, at most as many as it is asked for, in order. baseline: what
    `given` is, in words. features: what the reference's extractor sees in images uint8 (n, C, H, W), float64 (n, d).
    reconstructed: whether each sample was made of its own truth.
    """

    count: int
    blocks: Callable[[int], Iterator[PairBlock]]
    baseline: str = ""
    features: Callable[[NDArray[np.uint8]], NDArray[np.float64]] | None = None
    reconstructed: bool = False


@dataclass(frozen=True)
class CaptionChoice:
    """Samples of captions, and the real pictures of these, as they fit different captions.

    made, real: how well each of n samples, and each of the real pictures whose captions they are of, fits each of K
    captions, (n, K). right: which of the captions are the picture's own, bool (n, K). judge: by what it is told, in
    words. settings: the same as plain values.
    """

    made: NDArray[np.float64]
    real: NDArray[np.float64]
    right: NDArray[np.bool_]
    judge: str
    settings: Mapping[str, Any] = field(default_factory=lambda: {})


@dataclass(frozen=True)
class Captions:
    """Samples of held-out captions, drawn when they are asked for.

    choice: of at most so many pictures, and so many different captions.
    """

    choice: Callable[[int, int], CaptionChoice]


@dataclass(frozen=True)
class MapBlock:
    """Photographs uint8 (n, C, H, W) and the class of each place, int64 (n, H, W), -1 where it has none.

    made: of held-out maps, what the model made of them.
    """

    photo: NDArray[np.uint8]
    classes: NDArray[np.int64]
    made: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class LabelMaps:
    """The data of a design that makes photographs of label maps.

    classes: how many. trained, held: examples of either split. train: those of these numbers. blocks: the first
    held-out ones, at most as many as it is asked for, in order.
    """

    classes: int
    trained: int
    held: int
    train: Callable[[NDArray[np.int64]], MapBlock]
    blocks: Callable[[int], Iterator[MapBlock]]


@dataclass(frozen=True)
class Statistics:
    """What one repeat of a measurement holds: reals, samples, the holdout, and who extracted them.

    conditional: the samples' `labels` are what the generator was asked for. split: of shards, that the
    reals are; None where they are something else. pairs: samples with their truths; None where no truth is known.
    cycles: of a design with both directions, by the domain that a way begins and ends in: each example (`truth`) beside
    what came back (`made`); None for all others. label_maps: of a design that makes photographs of such. columns: of a
    table, what the numbers of its rows stand for. captions: of a design that draws from sentences.
    """

    real: Side
    fake: Side
    holdout: Side | None
    extractor: ExtractorIdentity
    seed: int
    conditional: bool = False
    classes: tuple[str, ...] = ()
    split: Literal["train", "holdout"] | None = "train"
    pairs: Pairs | None = None
    cycles: Mapping[str, Pairs] | None = None
    label_maps: LabelMaps | None = None
    columns: tuple[Column, ...] = ()
    captions: Captions | None = None


@dataclass(frozen=True)
class Score:
    """One named value of one repeat; `note` says what a reader must know to interpret it.

    spread: of the parts that the metric averages, in one repeat. n_real, n_fake: how many of either
    side it looked at; 0 = the side plays no part. warnings: what makes it less than it seems. each: of a metric of
    pairs, the value of each.
    """

    name: str
    value: float
    n_real: int | None
    n_fake: int | None
    split: Literal["train", "holdout"] | None = "train"
    note: str = ""
    spread: float | None = None
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: {})
    each: NDArray[np.float64] | None = field(default=None, compare=False)


class Metric(ABC, Generic[MetricConfig]):
    """A file in `metrics/` holds `Config` and a class `Metric`: pure mathematics in float64.

    needs: what must be there; where it is not (no logits, no labels), the metric is left out of a stage's scores and
        refused by `zerosum score`.
    aliases: what else `zerosum score --metrics` calls it.
    usual: settings that `zerosum score` gives it where the command line says nothing, as the field has them.
    modalities: of data that it can compare; None: any that an extractor sees.
    neighbours: it looks for nearest neighbours, so that its cost grows with the square of its `limit`, which
        `zerosum score --limit` sets.
    """

    needs: ClassVar[frozenset[Need]]
    aliases: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[Mapping[str, Any]] = {}
    modalities: ClassVar[frozenset[Modality] | None] = None
    neighbours: ClassVar[bool] = False

    def __init__(self, config: MetricConfig) -> None:
        self.config = config

    @property
    def rows(self) -> int:
        """The most rows of features it looks at: `limit` of its Config; 0 = moments or predictions alone."""
        return int(getattr(self.config, "limit", 0))

    @property
    def assets(self) -> tuple[str, ...]:
        """Pretrained weights that it looks through, by their files in `assets/`."""
        return ()

    @property
    def splits(self) -> int:
        """Into how many parts the class predictions are summed."""
        return 1

    @property
    def shuffle(self) -> bool:
        """Whether those parts are of a shuffled order."""
        return False

    @abstractmethod
    def compute(self, statistics: Statistics) -> list[Score]:
        """One repeat's scores.

        Raises:
            UserError: if the sides are too small, or hold less than the metric needs.
        """


AnyMetric = Metric[Any]
