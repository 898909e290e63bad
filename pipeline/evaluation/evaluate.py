"""One pass of samples feeds every metric, shared between ranks, repeated over seeds: the records of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from pipeline import plugins
from pipeline.contract import World
from pipeline.evaluation.samples import CHUNK, Labels, SampleSource, open_model
from pipeline.evaluation.scorer import Seen, asked_labels, see
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.formats.reference import Moments, Reference
from pipeline.formats.report import ExtractorIdentity, ScoreRecord
from pipeline.metrics._shared import Metric, Score, Side, Statistics, one_blas_thread
from pipeline.settings import UserError


@dataclass(frozen=True)
class Evaluation:
    """What a model scored, and the first repeat's samples as the extractor saw them."""

    records: list[ScoreRecord]
    seen: Seen


def evaluate(
    settings: EvaluateSettings,
    reference: Reference,
    model: Path,
    world: World,
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Score the model in the folder `model` against the reference; every rank calls, every rank is answered.

    Values are equal bit for bit at any world size: ranks make whole chunks of 64 samples, and
    features are put back in order before anything is summed.

    Raises:
        UserError: if the model was made for other data than the reference, or gives non-finite samples.
    """
    generator, card = open_model(model, device=world.device, threads=settings.threads)
    if card.spec != reference.card.spec:
        raise UserError(f"the model makes {card.spec.shape}, the reference measured {reference.card.spec.shape}")
    metrics = applicable(settings, reference, generator.conditional)
    repeats: list[list[Score]] = []
    first: Seen | None = None
    for repeat in range(settings.repeats):
        seed = settings.seed + repeat
        progress(f"repeat {repeat + 1} of {settings.repeats}: sampling")
        seen = draw(settings, reference, generator, seed, world)
        first = first or seen
        statistics = gather(reference, seen, seed, generator.conditional)
        with one_blas_thread():
            repeats.append([score for metric in metrics for score in metric.compute(statistics)])
    assert first is not None  # repeats ≥ 1
    return Evaluation(summarise(repeats, settings, reference, averaged=card.averaged), first)


def applicable(settings: EvaluateSettings, reference: Reference, conditional: bool) -> list[Metric]:
    """The metrics whose needs this extractor and this model can meet, in the settings' order."""
    extractor_classifies = "accuracy" in reference.card.report
    missing: set[str] = set() if extractor_classifies else {"logits", "labels"}
    if not conditional:
        missing.add("labels")
    found = [cast(Metric, plugins.load("metrics", metric, "evaluate.metrics")) for metric in settings.metrics]
    return [metric for metric in found if not metric.needs & missing]


def draw(settings: EvaluateSettings, reference: Reference, generator: SampleSource, seed: int, world: World) -> Seen:
    """One repeat's samples, as many as the settings or train say, seen by the extractor."""
    count = settings.samples or reference.card.counts["train"]

    asked = asked_labels(reference, generator, seed)

    def make(chunk: int) -> tuple[Tensor, Labels]:
        labels = asked(chunk)
        return generator.chunk(seed, chunk, labels, settings.truncation), labels

    seen = see(make, count, reference, world)
    if seen.nonfinite:
        raise UserError(f"{seen.nonfinite} of {count} samples hold non-finite numbers: the model is broken")
    return seen


def gather(reference: Reference, seen: Seen, seed: int, conditional: bool) -> Statistics:
    """The reals of the reference and one repeat's samples, side by side."""
    sides = {
        split: Side(reference.moments(split), reference.features(split), None, reference.labels(split))
        for split in ("train", "holdout")
    }
    moments = Moments.of(seen.features, CHUNK)
    return Statistics(
        real=sides["train"],
        fake=Side(moments, seen.features, seen.logits, seen.labels),
        holdout=sides["holdout"],
        extractor=reference.card.extractor,
        seed=seed,
        conditional=conditional,
        classes=reference.card.spec.classes,
    )


def summarise(
    repeats: Sequence[Sequence[Score]], settings: EvaluateSettings, reference: Reference, *, averaged: bool
) -> list[ScoreRecord]:
    """Means and deviations over the repeats, as records; what sees no samples deviates by 0."""
    card = reference.card
    identity = ExtractorIdentity(card.extractor, card.extractor_sha256, card.dimension)
    records: list[ScoreRecord] = []
    for scores in zip(*repeats, strict=True):
        first = scores[0]
        values = np.array([score.value for score in scores])
        records.append(
            ScoreRecord(
                name=first.name,
                value=float(values.mean()),
                spread=float(values.std(ddof=1)) if len(values) > 1 else None,
                n_real=first.n_real,
                n_fake=first.n_fake,
                split=first.split,
                extractor=identity,
                resize=card.resize,
                seed=settings.seed,
                repeats=len(values),
                ema=averaged,
                truncation=settings.truncation,
                version=library_version(),
                note=first.note,
            )
        )
    return records


def confusion(seen: Seen, classes: Sequence[str]) -> list[tuple[str, str]]:
    """(asked for, recognised as) of each sample, in words; empty without a classifier."""
    if seen.logits is None:
        return []
    pairs = zip(seen.labels, seen.logits.argmax(axis=1), strict=True)
    return [(classes[int(asked)], classes[int(got)]) for asked, got in pairs]


def library_version() -> str:
    """This package's own version."""
    try:
        return version("zerosum")
    except PackageNotFoundError:
        return "unknown"
