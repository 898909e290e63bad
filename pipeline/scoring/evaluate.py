"""One pass of samples feeds every metric, shared between ranks or workers, repeated over seeds: a model's records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from pipeline import plugins
from pipeline.contract import World
from pipeline.contract.extractor import Examples
from pipeline.contract.metric import AnyMetric, Captions, Need, Pairs, Score, Side, Statistics
from pipeline.errors import UserError
from pipeline.formats.model import ModelCard
from pipeline.formats.reference import Reference
from pipeline.formats.report import ScoreRecord
from pipeline.randomness import choose
from pipeline.sampling.samples import Labels, SampleSource, open_model
from pipeline.score_names import extractor_class
from pipeline.scoring.captioned import captions_of
from pipeline.scoring.collecting import FeatureAccumulator, planned
from pipeline.scoring.extract import (
    FeatureBlock,
    Handle,
    Mapped,
    SampleExamples,
    ShardInputs,
    extract_features,
    one_by_one,
)
from pipeline.scoring.in_training import asked, asked_labels, own_scores, see, summed
from pipeline.scoring.map_pairs import maps_of
from pipeline.scoring.pairing import cycles_of, pairs_for
from pipeline.scoring.path_length import path_length
from pipeline.scoring.settings import EvaluateSettings
from pipeline.threads import one_blas_thread
from pipeline.types import Array

MOMENTS: frozenset[Need] = frozenset({"moments"})
PAIRED: frozenset[Need] = frozenset({"pairs", "reconstructions"})
WITHOUT_DATA = 4096
EXAMPLES = 2048  # of a side, at most, for metrics that look at the examples themselves


@dataclass(frozen=True)
class Evaluation:
    """What a model scored, and the first repeat's samples as the extractor saw them.

    pairs: of metrics of pairs, the first repeat's value of each pair, by the score's name.
    """

    records: list[ScoreRecord]
    seen: Side
    pairs: dict[str, list[float]] = field(default_factory=lambda: {})


def evaluate(
    settings: EvaluateSettings,
    reference: Reference,
    model: Path,
    world: World,
    progress: Callable[[str], None] = lambda _: None,
    mapped: Mapped = one_by_one,
    inputs: ShardInputs | None = None,
    splits: Mapping[str, Examples] | None = None,
) -> Evaluation:
    """Score the model in the folder `model` against the reference; every rank calls, every rank is answered.

    Values are equal bit for bit at any world size, and however `mapped` spreads a world of one over
    workers: chunks of 64 samples are whole, and come back in order before anything is summed. Only
    what the metrics look at is held: see `metrics._collecting`. inputs: what a translator translates. splits: the data,
    `train` and `holdout`, for metrics that look at the examples themselves; without it they are left out.

    Raises:
        UserError: if the model was made for other data than the reference, or gives non-finite samples.
    """
    generator, card = open_model(model, device=world.device, threads=settings.threads, inputs=inputs)
    if card.spec != reference.card.spec:
        raise UserError(f"the model makes {card.spec.shape}, the reference measured {reference.card.spec.shape}")
    metrics = applicable(settings, reference, generator, splits)
    sampler = Sampler(settings, reference, generator, card, model, inputs, splits or {})
    repeats: list[list[Score]] = []
    first: Side | None = None
    for repeat in range(settings.repeats):
        seed = settings.seed + repeat
        progress(f"repeat {repeat + 1} of {settings.repeats}: sampling")
        fake = sampler.side(metrics, seed, sampler.blocks(seed, world, mapped)) if metrics else Side(None)
        first = fake if first is None else first
        with one_blas_thread():
            found = [score for metric in metrics for score in metric.compute(sampler.statistics(metric, fake, seed))]
        repeats.append([*found, *sampler.walked(seed), *sampler.own(seed)])
    assert first is not None  # repeats ≥ 1
    pairs: dict[str, list[float]] = {score.name: score.each.tolist() for score in repeats[0] if score.each is not None}
    return Evaluation(summarise(repeats, settings, reference, averaged=card.averaged), first, pairs)


def applicable(
    settings: EvaluateSettings,
    reference: Reference,
    generator: SampleSource,
    splits: Mapping[str, Examples] | None = None,
) -> list[AnyMetric]:
    """The metrics of this data whose needs this extractor and this model can meet, in the settings' order."""
    if reference.blind:
        return []
    identity = reference.card.identity
    seen_by, missing = extractor_class(identity.name), set[str]()
    if seen_by.without_logits(identity) is not None:
        missing.add("logits")
    if seen_by.predicts != "the data's classes":
        missing.add("classes")
    if not generator.conditional:
        missing.add("labels")
    pairs = pairs_for(generator, reference, splits or {}, settings.seed)
    missing |= {"pairs", "reconstructions"} if pairs is None else set() if pairs.reconstructed else {"reconstructions"}
    if captions_of(generator, reference, settings.seed) is None:
        missing.add("captions")
    if cycles_of(generator, settings.seed) is None:
        missing.add("cycles")
    if maps_of(generator, settings.seed) is None:
        missing.add("label_maps")
    if splits is None:
        missing.add("examples")
    if not (seen_by.verbatim and reference.card.spec.columns):
        missing.add("columns")
    modality = reference.card.spec.modality
    found = [cast(AnyMetric, plugins.load("metrics", metric, "evaluate.metrics")) for metric in settings.metrics]
    return [
        metric
        for metric in found
        if not metric.needs & missing and (metric.modalities is None or modality in metric.modalities)
    ]


@dataclass(frozen=True)
class Sampler:
    """One model before one reference: blocks of its samples, and what metrics are given."""

    settings: EvaluateSettings
    reference: Reference
    generator: SampleSource
    card: ModelCard
    folder: Path
    inputs: ShardInputs | None = None
    splits: Mapping[str, Examples] = field(default_factory=lambda: {})

    @property
    def count(self) -> int:
        """Samples a repeat: as many as the settings or train say, or some where there is no data."""
        return self.settings.samples or self.reference.card.counts["train"] or WITHOUT_DATA

    def own(self, seed: int) -> list[Score]:
        """What the design measures of itself, and concludes from it."""
        scores, family = own_scores(self.generator, self.count, seed), self.generator.family
        note = "the design's own measure, of its own samples"
        return [
            Score(name, value, 0, self.count, None, note, float(scores[name].std()) if name in scores else None)
            for name, value in summed(family, scores).items()
        ]

    def blocks(self, seed: int, world: World, mapped: Mapped) -> Iterable[FeatureBlock]:
        """One repeat's samples, seen by the extractor; ranks share them, or workers if there is one rank."""
        if world.size > 1:
            wanted = asked_labels(self.reference, self.generator, seed)

            def make(chunk: int) -> tuple[Tensor, Labels]:
                labels = wanted(chunk)
                return self.generator.chunk(seed, chunk, labels, self.settings.truncation), labels

            return see(make, self.count, self.reference, world)
        labels = asked(self.reference.labels("train"), self.generator, seed, self.count)
        samples = SampleExamples(
            self.folder,
            labels,
            seed,
            self.settings.truncation,
            self.settings.threads,
            str(world.device),
            self.card.weights_sha256,
            self.inputs,
        )
        return extract_features(handle(self.reference), samples, self.reference.card.threads, mapped)

    def side(self, metrics: Sequence[AnyMetric], seed: int, blocks: Iterable[FeatureBlock]) -> Side:
        """What the metrics look at.

        Raises:
            UserError: if any number of a sample is none.
        """
        collector = FeatureAccumulator(planned(metrics, self.count, self.reference.card.counts["holdout"]), seed)
        nonfinite = 0
        with one_blas_thread():
            for block in blocks:
                nonfinite += block.nonfinite
                for chunk in block.chunks():
                    collector.take(chunk.features, chunk.logits, chunk.labels)
        if nonfinite:
            raise UserError(f"{nonfinite} of {self.count} samples hold non-finite numbers: the model is broken")
        return collector.side()

    def walked(self, seed: int) -> list[Score]:
        """The path length, where the settings ask for it and there is somebody to see."""
        settings, reference = self.settings, self.reference
        if settings.path_length is None or reference.blind:
            return []
        told: dict[str, Any] = {"threads": reference.card.threads, "truncation": settings.truncation}
        extractor, identity = reference.extractor(), reference.card.identity
        return [path_length(self.generator, extractor, identity, settings.path_length, seed, **told)]

    def statistics(self, metric: AnyMetric, fake: Side, seed: int) -> Statistics:
        """The reals of the reference and one repeat's samples, side by side; foreign reals where moments suffice."""
        reference, truncation = self.reference, self.settings.truncation
        real, holdout = (
            Side(reference.moments(split), reference.features(split), None, reference.labels(split))
            for split in ("train", "holdout")
        )
        found = Statistics(
            real=real,
            fake=fake,
            holdout=holdout,
            extractor=reference.card.identity,
            seed=seed,
            conditional=self.generator.conditional,
            classes=reference.card.spec.classes,
            pairs=self.pairs(seed) if metric.needs & PAIRED else None,
            cycles=cycles_of(self.generator, seed, truncation) if "cycles" in metric.needs else None,
            label_maps=maps_of(self.generator, seed, truncation) if "label_maps" in metric.needs else None,
            columns=reference.card.spec.columns,
            captions=self._captions(seed) if "captions" in metric.needs else None,
        )
        if "examples" in metric.needs:
            found = self.with_examples(found, seed)
        foreign = reference.statistics if metric.needs == MOMENTS else None
        return found if foreign is None else replace(found, real=Side(foreign), split=None)

    def pairs(self, seed: int) -> Pairs | None:
        """Samples with their truths, or held-out examples made again."""
        return pairs_for(self.generator, self.reference, self.splits, seed, self.settings.truncation)

    def with_examples(self, found: Statistics, seed: int) -> Statistics:
        """The same with the first samples themselves, and with reals that seed 0 chose: at most `EXAMPLES` a side."""
        count = min(self.count, EXAMPLES)
        labels = asked(self.reference.labels("train"), self.generator, seed, count)
        made = self.generator.sample(
            count, labels if self.generator.conditional else None, seed, self.settings.truncation
        )
        real, holdout = (self._chosen(split) for split in ("train", "holdout"))
        held = None if found.holdout is None else replace(found.holdout, examples=holdout)
        return replace(
            found, real=replace(found.real, examples=real), fake=replace(found.fake, examples=made), holdout=held
        )

    def _captions(self, seed: int) -> Captions | None:
        return captions_of(self.generator, self.reference, seed, self.settings.truncation)

    def _chosen(self, split: str) -> Array:
        data = self.splits[split]
        count = min(len(data), EXAMPLES)
        return data.examples(np.sort(choose(len(data), count, 0, f"examples/{split}")))["x"]


def handle(reference: Reference) -> Handle:
    """The reference's extractor, as workers open it."""
    card = reference.card
    return Handle.of({"name": card.extractor, **card.config}, card.spec, reference.folder / "extractor.safetensors")


def summarise(
    repeats: Sequence[Sequence[Score]], settings: EvaluateSettings, reference: Reference, *, averaged: bool
) -> list[ScoreRecord]:
    """Means and deviations over the repeats, as records; what sees no samples deviates by 0."""
    card = reference.card
    records: list[ScoreRecord] = []
    for scores in zip(*repeats, strict=True):
        first = scores[0]
        values = np.array([score.value for score in scores])
        note, real = first.note, ""
        if first.split is not None:
            real = card.manifest_sha256
        elif first.n_real != 0 and card.statistics is not None:
            real = str(card.statistics["sha256"])
            note += f"; the reals are {card.statistics['source']}"
        records.append(
            ScoreRecord(
                name=first.name,
                value=float(values.mean()),
                spread=float(values.std(ddof=1)) if len(values) > 1 else first.spread,
                n_real=first.n_real,
                n_fake=first.n_fake,
                split=first.split,
                extractor=card.identity,
                resize=card.resize,
                seed=settings.seed,
                repeats=len(values),
                ema=averaged,
                truncation=settings.truncation,
                version=library_version(),
                note=note,
                warnings=first.warnings,
                settings=dict(first.settings),
                real=real,
            )
        )
    return records


def confusion(seen: Side, classes: Sequence[str]) -> list[tuple[str, str]]:
    """(asked for, recognised as) of each sample, in words; empty without a classifier of these classes."""
    if seen.predictions is None or seen.labels is None or seen.predictions.classes != len(classes):
        return []
    pairs = zip(seen.labels, seen.predictions.recognised, strict=True)
    return [(classes[int(asked_for)], classes[int(got)]) for asked_for, got in pairs]


def library_version() -> str:
    """This package's own version."""
    try:
        return version("zerosum")
    except PackageNotFoundError:
        return "unknown"
