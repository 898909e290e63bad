"""The reference stage's one call: prepare an extractor, see the real data once, write the artefact."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from pipeline import plugins
from pipeline.contract.extractor import AnyExtractor, Examples
from pipeline.errors import SettingsError
from pipeline.formats.reference import Features, Measured, Reference, ReferenceCard, TrainedText, save_reference
from pipeline.score_names import extractor_class
from pipeline.scoring import text_training
from pipeline.scoring.extract import Handle, Mapped, extract_features, one_by_one
from pipeline.scoring.precomputed import read_statistics
from pipeline.scoring.settings import ReferenceSettings
from pipeline.threads import fixed_threads


def measure(
    settings: ReferenceSettings,
    train: Examples,
    holdout: Examples,
    out: Path,
    manifest_sha256: str,
    progress: Callable[[str], None] = lambda _: None,
    mapped: Mapped = one_by_one,
) -> Reference:
    """Write `out` (the whole reference artefact, replacing an older one) and open it.

    mapped: how blocks of examples are spread over workers; they answer in order, so that it changes
    no byte, and features go to disk as they come. It needs examples that travel (`ShardExamples`).

    Raises:
        SettingsError: if the extractor cannot learn from this data, or a split is too small.
    """
    looks = extractor_class(str(settings.extractor["name"])).looks
    for split, examples in {"train": train, "holdout": holdout}.items():
        if len(examples) < 2 and looks:
            raise SettingsError(
                f"statistics need at least 2 examples, and {split} holds {len(examples)}; see ingest.holdout_fraction"
            )
    config = plugins.configure("extractors", settings.extractor, "reference.extractor")
    name = str(settings.extractor["name"])
    extractor: AnyExtractor = plugins.load("extractors", settings.extractor, "reference.extractor")
    foreign = None
    if settings.statistics is not None:
        foreign = read_statistics(Path(settings.statistics), "reference.statistics", extractor.dimension)
    with fixed_threads(settings.threads):
        progress(f"preparing the extractor '{name}' on {len(train)} examples")
        report: dict[str, Any] = extractor.prepare(train, holdout, settings.seed)
    if "accuracy" in report:
        progress(f"held-out accuracy {report['accuracy']:.4f}")
    progress(f"measuring {len(train)} + {len(holdout)} real examples")
    card = ReferenceCard(
        manifest_sha256=manifest_sha256,
        spec=train.spec,
        extractor=name,
        # The path of the weights and the batch size do not affect results: they stay out of the card.
        config=config.model_dump(mode="json", exclude=set(extractor.incidental)),
        extractor_sha256="",
        dimension=extractor.dimension,
        resize=extractor.resize,
        seed=settings.seed,
        threads=settings.threads,
        counts={"train": len(train), "holdout": len(holdout)},
        report=report,
    )
    state = extractor.state_dict()
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the artefact, as other nodes see that folder too.
    with tempfile.TemporaryDirectory(prefix=".extractor-", dir=out.parent) as folder:
        looked: Handle | AnyExtractor = extractor
        if mapped is not one_by_one:
            path = Path(folder) / "extractor.safetensors"
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, path)
            looked = Handle.of({"name": name, **card.config}, card.spec, path)

        def pieces(examples: Examples) -> Iterator[Measured]:
            for block in extract_features(looked, examples, settings.threads, mapped):
                yield Measured(block.features, block.labels)

        def learn(features: Mapping[str, Features]) -> TrainedText:
            return text_training.learn(settings, {"train": train, "holdout": holdout}, features, progress)

        splits = {"train": pieces(train), "holdout": pieces(holdout)}
        save_reference(out, card, state, splits, foreign, None if settings.text_encoder is None else learn)
    return Reference.load(out, manifest_sha256)
