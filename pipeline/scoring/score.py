"""`zerosum score`: any two sets before any extractor, as records; needs no project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import AnyMetric, Score, Side, Statistics
from pipeline.errors import UserError
from pipeline.formats.report import ScoreRecord
from pipeline.scoring import bound_extractor
from pipeline.scoring.bound_extractor import BoundExtractor
from pipeline.scoring.compatibility import Pair, dimension, fits, hindrance
from pipeline.scoring.evaluate import library_version
from pipeline.scoring.extract import Mapped, one_by_one
from pipeline.scoring.inputs import (
    GivenFeatures,
    GivenStatistics,
    ImageSet,
    Input,
    Like,
    ModelInput,
    Opening,
    ReferenceSplit,
    Split,
    aligned,
    classes,
    labels_of,
    like,
    limited,
    of_size,
    open_input,
    sampled,
    size,
)
from pipeline.scoring.path_length import path_length
from pipeline.scoring.settings import PathLengthSettings
from pipeline.scoring.side_builder import SideBuilder
from pipeline.scoring.sizes import FILTER, Size
from pipeline.threads import one_blas_thread

DEFAULT = ("frechet", "kernel", "precision_recall", "density_coverage", "inception_score")


@dataclass(frozen=True)
class Request:
    """What to score. real may be None where no metric looks at reals.

    extractor: the plug-in's name and keys, None = whichever fits. strict: every metric was asked for by
    name; else those that cannot be had are left out. path_length: None = not asked for. cache: where
    statistics of reals are kept by content; None = nowhere. size: (height, width) that images of either side are
    brought to first; None = as they are.
    """

    real: str | None
    fake: str
    extractor: Mapping[str, Any] | None = None
    metrics: Sequence[Mapping[str, Any]] = tuple({"name": name} for name in DEFAULT)
    strict: bool = False
    path_length: PathLengthSettings | None = None
    n: int | None = None
    seed: int = 0
    truncation: float = 1.0
    threads: int = 1
    cache: Path | None = None
    size: Size | None = None


@dataclass(frozen=True)
class Scored:
    """The records, and what a person should be told besides."""

    records: list[ScoreRecord]
    said: list[str]


@dataclass(frozen=True)
class Execution:
    """How it is done: opening inputs with progress, and how blocks are spread.

    scratch: where workers of other processes find weights; None = all is done in this one.
    """

    opening: Opening
    mapped: Mapped = one_by_one
    scratch: Path | None = None


def score(request: Request, work: Execution) -> Scored:
    """Every metric that was asked for, of `fake` against `real`.

    Raises:
        UserError: if a side cannot be read, the two don't fit each other, or a metric cannot be had from them.
    """
    metrics = {str(each["name"]): _metric(each) for each in request.metrics}
    real = None if request.real is None else open_input("--real", request.real, work.opening)
    fake = open_input("--fake", request.fake, work.opening)
    table = Comparison(request, work, metrics, real, fake)
    return table.scored()


def _metric(settings: Mapping[str, Any]) -> AnyMetric:
    found: AnyMetric = plugins.load("metrics", settings, "--metrics")
    return found


class Comparison:
    """Two opened inputs on one table: sized alike, seen by one extractor, measured."""

    def __init__(
        self, request: Request, work: Execution, metrics: dict[str, AnyMetric], real: Input | None, fake: Input
    ) -> None:
        self.request, self.work, self.metrics = request, work, metrics
        self.said: list[str] = []
        self.warnings: list[str] = []
        self.model = fake if isinstance(fake, ModelInput) else None
        self.real, self.fake = self._of_one_size(*self._counted(real, fake))
        self.split: Split | None = real.split if isinstance(real, ImageSet | ReferenceSplit) else None
        self.viewer = self._viewer()

    # --- what is compared -------------------------------------------------------------------------

    def _counted(self, real: Input | None, fake: Input) -> tuple[Input | None, Input]:
        """Both with as many rows as are wanted; models sampled, their classes numbered as the reals'."""
        request = self.request
        if isinstance(real, ImageSet | GivenFeatures):
            real = limited(real, request.n, request.seed)
        if isinstance(fake, ImageSet | GivenFeatures):
            fake = limited(fake, request.n, request.seed)
        reals = self._like(real, fake) if isinstance(fake, ModelInput) else None
        if isinstance(real, ModelInput):
            real = sampled(real, self._count(fake), request.seed + 1, request.truncation, None)
        if isinstance(fake, ModelInput):
            fake = sampled(fake, self._count(real), request.seed, request.truncation, reals)
        return real, aligned(fake, real)

    def _like(self, real: Input | None, fake: ModelInput) -> Like | None:
        """The reals' classes, which the model is asked for as often as they occur."""
        if not isinstance(real, ImageSet | ReferenceSplit) or not fake.source.conditional or labels_of(real) is None:
            return None
        found = like(real, fake.card.spec.classes)
        if found is None and classes(real) is not None:
            self.said.append(f"not every one of the reals has a class of {fake.name}: all classes are asked for alike")
        return found

    def _of_one_size(self, real: Input | None, fake: Input) -> tuple[Input | None, Input]:
        """Images of either side brought to `size`, where one was asked for."""
        size = self.request.size
        if size is None:
            return real, fake
        if not any(isinstance(side, ImageSet) for side in (real, fake)):
            raise UserError("--size: neither side holds images that are yet to be seen")
        if self.request.path_length is not None:
            raise UserError("--metrics path_length: it walks through a model's own images; leave --size out")
        resized = of_size(fake, size, "--fake")
        assert resized is not None  # fake is there
        return of_size(real, size, "--real"), resized

    def _count(self, other: Input | None) -> int:
        if self.request.n is not None:
            return self.request.n
        if isinstance(other, ImageSet | GivenFeatures):
            return size(other)
        if isinstance(other, ReferenceSplit):
            return other.reference.card.counts[other.split]
        if isinstance(other, GivenStatistics) and other.gaussian.count:
            return other.gaussian.count
        raise UserError("--n: say how many samples of the model are to be scored; the other side does not tell")

    def _viewer(self) -> BoundExtractor | None:
        """Whoever has to look; None where nothing has to be looked at."""
        real, fake, wanted = self.real, self.fake, self.request.extractor
        if isinstance(real, ReferenceSplit):
            card = real.reference.card
            if wanted is not None and str(wanted["name"]) != card.extractor:
                raise UserError(
                    f"--real {real.name} holds statistics of another extractor: '{card.extractor}', and --extractor "
                    f"says '{wanted['name']}'"
                )
            tap = None if wanted is None else wanted.get("tap")
            if tap is not None and tap != card.identity.tap:
                raise UserError(f"--real {real.name} holds statistics of tap {card.identity.tap}, and --tap says {tap}")
            found = bound_extractor.of_reference(real.reference)
            if isinstance(fake, ImageSet):
                found.check(fake)
            return found
        pictures = [side for side in (real, fake) if isinstance(side, ImageSet)]
        if not pictures:
            return None
        extractor = wanted or {"name": "inception"}
        shown = real if isinstance(real, ImageSet) else None
        return bound_extractor.prepare(extractor, shown, pictures[-1], self.request.seed, self.request.threads)

    @property
    def identity(self) -> ExtractorIdentity:
        """The extractor whose features are compared."""
        if self.viewer is not None:
            return self.viewer.identity
        return bound_extractor.of_features(dimension(side) for side in (self.real, self.fake))

    # --- what can be had --------------------------------------------------------------------------

    def scored(self) -> Scored:
        """The records of every metric."""
        metrics = self._possible()
        walked = self._walked()
        if self.work.scratch is not None and self.viewer is not None:
            self.viewer = bound_extractor.travelling(self.viewer, self.work.scratch)
        found: list[Score] = []
        statistics = self._statistics(metrics) if metrics else None
        for name, metric in metrics.items():
            # Of default metrics, those that cannot be had are left out.
            try:
                assert statistics is not None  # there are metrics
                with one_blas_thread():
                    found += metric.compute(
                        statistics if "holdout" in metric.needs else replace(statistics, holdout=None)
                    )
            except UserError as error:
                if self.request.strict:
                    raise
                self.said.append(f"{name} is left out: {error}")
        found += walked
        if not found:
            raise UserError(f"nothing could be scored: {'; '.join(self.said)}")
        return Scored([self._record(each) for each in found], self.said)

    def _possible(self) -> dict[str, AnyMetric]:
        """The metrics that these two sides can be measured by.

        Raises:
            UserError: for one that was asked for and cannot be had, with the reason.
        """
        pair = Pair(self.real, self.fake, self.viewer, alone=len(self.metrics) == 1)
        self.warnings += fits(pair, self.identity)
        kept: dict[str, AnyMetric] = {}
        for name, metric in self.metrics.items():
            why = hindrance(metric.needs, pair, self._holdout() is not None)
            if why is None:
                kept[name] = metric
            elif self.request.strict:
                raise UserError(f"--metrics {name}: {why}")
        if not kept and self.request.path_length is None:
            raise UserError("no metric can be had from these two sides; see `zerosum score --help` for what can")
        return kept

    def _holdout(self) -> ImageSet | ReferenceSplit | None:
        real = self.real
        if isinstance(real, ReferenceSplit):
            return replace(real, split="holdout")
        if isinstance(real, ImageSet) and real.holdout is not None:
            return ImageSet(f"{real.name}, holdout", real.holdout, f"{real.content}:holdout")
        return None

    def _walked(self) -> list[Score]:
        """The path length, where it was asked for."""
        settings, request = self.request.path_length, self.request
        if settings is None:
            return []
        if self.model is None or self.viewer is None:
            raise UserError("--metrics path_length: it walks through latents: give --fake a model")
        who = self.viewer
        told: dict[str, Any] = {"threads": who.threads, "truncation": request.truncation}
        return [path_length(self.model.source, who.extractor, who.identity, settings, request.seed, **told)]

    # --- what is seen -----------------------------------------------------------------------------

    def _statistics(self, metrics: Mapping[str, AnyMetric]) -> Statistics:
        chosen, seed = list(metrics.values()), self.request.seed
        blind = all("logits" in metric.needs for metric in chosen)
        seeing = SideBuilder(self.viewer, self.request.cache, self.work.opening.progress, self.work.mapped, self.said)
        held_out = self._holdout() if any("holdout" in metric.needs for metric in chosen) else None
        return Statistics(
            real=Side(None) if blind or self.real is None else seeing.side("real", self.real, chosen, 0),
            fake=seeing.side("fake", self.fake, chosen, seed),
            holdout=None if held_out is None else seeing.side("holdout", held_out, chosen, 0),
            extractor=self.identity,
            seed=seed,
            classes=classes(self.real) or classes(self.fake) or (),
            split=self.split,
            columns=() if self.viewer is None else self.viewer.spec.columns,
        )

    # --- notices -----------------------------------------------------------------------------

    def _record(self, found: Score) -> ScoreRecord:
        card = None if self.model is None else self.model.card
        sides = {"the reals": self.real, "the samples": self.fake}
        foreign = {who: side for who, side in sides.items() if isinstance(side, GivenStatistics)}
        return ScoreRecord(
            name=found.name,
            value=found.value,
            spread=found.spread,
            n_real=found.n_real,
            n_fake=found.n_fake,
            split=found.split,
            extractor=self.identity,
            resize=None if self.viewer is None else self.viewer.resize,
            seed=self.request.seed,
            repeats=1,
            ema=None if card is None else card.averaged,
            truncation=None if card is None else self.request.truncation,
            version=library_version(),
            note="; ".join([found.note, *(f"{who} are {side.gaussian.source}" for who, side in foreign.items())]),
            warnings=(*found.warnings, *self.warnings),
            settings={**found.settings, **self._size()},
            real="" if found.n_real == 0 else _content(self.real),
        )

    def _size(self) -> dict[str, Any]:
        """What was done to the images before an extractor saw them."""
        if self.request.size is None:
            return {}
        return {"size": "x".join(map(str, self.request.size)), "size_filter": FILTER}


def _content(side: Input | None) -> str:
    if isinstance(side, GivenStatistics):
        return side.gaussian.sha256
    if isinstance(side, ImageSet | GivenFeatures):
        return side.content.removesuffix(":train")
    return side.reference.card.manifest_sha256 if isinstance(side, ReferenceSplit) else ""
