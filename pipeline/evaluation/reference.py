"""The reference stage's one call: prepare an extractor, see the real data once, write the artefact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.evaluation.samples import fixed_threads
from pipeline.evaluation.settings import ReferenceSettings
from pipeline.extractors import _shared as extractors
from pipeline.formats.reference import Examples, Extractor, Reference, ReferenceCard, save_reference
from pipeline.settings import SettingsError


def measure(
    settings: ReferenceSettings,
    train: Examples,
    holdout: Examples,
    out: Path,
    manifest_sha256: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Reference:
    """Write `out` (the whole reference artefact, replacing an older one) and open it.

    Raises:
        SettingsError: if the extractor cannot learn from this data, or a split is too small.
    """
    for split, examples in {"train": train, "holdout": holdout}.items():
        if len(examples) < 2:
            raise SettingsError(
                f"statistics need at least 2 examples, and {split} holds {len(examples)}; see ingest.holdout_fraction"
            )
    config = plugins.configure("extractors", settings.extractor, "reference.extractor")
    name = str(settings.extractor["name"])
    extractor: Extractor = plugins.load("extractors", settings.extractor, "reference.extractor")
    with fixed_threads(settings.threads):
        progress(f"preparing the extractor '{name}' on {len(train)} examples")
        report: dict[str, Any] = extractor.prepare(train, holdout, settings.seed)
        if "accuracy" in report:
            progress(f"held-out accuracy {report['accuracy']:.4f}")
        progress(f"measuring {len(train)} + {len(holdout)} real examples")
        splits = {
            split: extractors.measure(extractor, data) for split, data in (("train", train), ("holdout", holdout))
        }
    card = ReferenceCard(
        manifest_sha256=manifest_sha256,
        spec=train.spec,
        extractor=name,
        # Where weights lay and how many images went at once decide no number, and are nobody else's paths.
        config=config.model_dump(mode="json", exclude=set(getattr(extractor, "incidental", ()))),
        extractor_sha256="",
        dimension=extractor.dimension,
        resize=getattr(extractor, "resize", "none"),
        seed=settings.seed,
        threads=settings.threads,
        counts={"train": len(train), "holdout": len(holdout)},
        report=report,
    )
    save_reference(out, card, extractor.state_dict(), splits)
    return Reference.load(out, manifest_sha256)
