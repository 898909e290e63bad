"""Who looks at images when anything is scored: a plug-in extractor made ready, or a reference's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save, save_file

from pipeline import plugins
from pipeline.contract.extractor import AnyExtractor, Examples, ExtractorIdentity, identity_of
from pipeline.contract.metric import Side
from pipeline.errors import SettingsError, UserError
from pipeline.formats.reference import Reference
from pipeline.score_names import extractor_class
from pipeline.scoring.collecting import CollectionPlan, FeatureAccumulator
from pipeline.scoring.extract import Handle, Mapped, extract_features
from pipeline.scoring.inputs import ImageSet
from pipeline.scoring.sizes import written
from pipeline.storage import files
from pipeline.threads import fixed_threads, one_blas_thread
from pipeline.types import DataSpec

FEATURES = "features"


@dataclass(frozen=True)
class BoundExtractor:
    """An extractor that is ready, its identity and protocol.

    state: the file of its weights. travels: workers of other processes are to open it from there. measured: it is a
    reference's, which has seen the reals already.
    """

    extractor: AnyExtractor
    identity: ExtractorIdentity
    resize: str
    threads: int
    settings: dict[str, Any]
    spec: DataSpec
    state: Path | None = None
    travels: bool = False
    measured: bool = False

    @property
    def any_size(self) -> bool:
        """Whether it brings images of any shape to its own."""
        return self.extractor.any_size

    def check(self, *sides: ImageSet | None) -> None:
        """Refuse pictures that it cannot see.

        Raises:
            UserError: for sizes or channels that it has no way with.
        """
        shapes = {shape for side in sides if side is not None for shape in side.shapes}
        name, own = self.identity.name, self.spec.shape
        if not self.any_size and shapes - {own}:
            other = min(shapes - {own}, key=lambda shape: (shape[0] == own[0], shape))
            # A reference holds its reals as its own extractor saw them.
            able = [each for each in plugins.names("extractors") if extractor_class(each).any_size]
            instead = (
                "" if self.measured else f", or take --extractor {' or '.join(able)}, which brings each to its own"
            )
            if any(shape[0] != own[0] for shape in shapes):
                what = "bring all to as many channels first"
            elif self.spec.modality != "image":
                what = "bring them to one shape first"
            else:
                what = f"bring both sides to one size with --size {written(own[1:])}"
            raise UserError(
                f"the extractor '{name}' sees examples of one shape, {'×'.join(map(str, own))}, and there are ones of "
                f"{'×'.join(map(str, other))}; {what}{instead}"
            )
        if self.any_size:
            for shape in sorted(shapes):
                self.extractor.check(replace(self.spec, shape=shape))

    def look(self, side: ImageSet, plan: CollectionPlan, seed: int, mapped: Mapped, advance: Any) -> Side:
        """One side as this extractor sees it; `advance` is told of the rows that have come.

        Raises:
            UserError: if samples hold NaN or infinite values.
        """
        looked: Handle | AnyExtractor = self.extractor
        if self.travels and self.state is not None:
            looked = Handle.of(self.settings, self.spec, self.state)
        collector, nonfinite, done = FeatureAccumulator(plan, seed), 0, 0
        with one_blas_thread():
            for block in extract_features(looked, side.examples, self.threads, mapped):
                nonfinite += block.nonfinite
                for chunk in block.chunks():
                    collector.take(chunk.features, chunk.logits, chunk.labels)
                done += len(block.labels)
                advance(done, plan.count)
        if nonfinite:
            raise UserError(f"{nonfinite} of {plan.count} samples hold non-finite numbers: {side.name} is broken")
        return replace(collector.side(), labels=side.labels)


def prepare(
    settings: Mapping[str, Any], real: ImageSet | None, fake: ImageSet, seed: int, threads: int
) -> BoundExtractor:
    """The plug-in extractor, ready for these examples.

    Raises:
        UserError: if it cannot see them, or its weights are missing.
    """
    train = fake if real is None else real
    config = plugins.configure("extractors", settings, "--extractor")
    name = str(settings["name"])
    if not extractor_class(name).looks:
        seeing = [each for each in plugins.names("extractors") if extractor_class(each).looks]
        raise UserError(
            f"--extractor {name} looks at nothing, so nothing can be compared; take one of {', '.join(seeing)}"
        )
    extractor: AnyExtractor = plugins.load("extractors", settings, "--extractor")
    holdout: Examples = train.examples
    if extractor.learns:
        if train.holdout is None:
            raise UserError(
                f"--extractor {name} is trained on labelled shards: give --real a folder of shards, or a reference "
                "(artifacts/reference), which holds a trained one"
            )
        holdout = train.holdout
    with fixed_threads(threads):
        try:
            report = extractor.prepare(train.examples, holdout, seed)
        except SettingsError as error:
            # Here it is an option, not a key of params.yaml.
            raise UserError(str(error).replace("reference.extractor: '", "--extractor '")) from None
    kept = config.model_dump(mode="json", exclude=set(extractor.incidental))
    sha256 = report.get("weights_sha256") or _of_state(name, kept, extractor)
    identity = identity_of(name, kept, extractor.dimension, report, sha256)
    found = BoundExtractor(extractor, identity, extractor.resize, threads, {"name": name, **kept}, train.examples.spec)
    found.check(real, fake)
    return found


def _of_state(name: str, config: Mapping[str, Any], extractor: AnyExtractor) -> str:
    """The sha256 that a reference measured with this extractor would name."""
    weights = save({key: tensor.detach().cpu().contiguous() for key, tensor in extractor.state_dict().items()})
    return files.sha256_json({"name": name, "config": dict(config), "weights": files.sha256_bytes(weights)})


def of_reference(reference: Reference) -> BoundExtractor:
    """The extractor that measured a reference."""
    card = reference.card
    settings = {"name": card.extractor, **card.config}
    state = reference.folder / "extractor.safetensors"
    return BoundExtractor(
        reference.extractor(), card.identity, card.resize, card.threads, settings, card.spec, state, measured=True
    )


def travelling(viewer: BoundExtractor, folder: Path) -> BoundExtractor:
    """The same, to be opened by workers from a file of its weights; where there is none yet, in `folder`."""
    path = viewer.state or folder / "extractor.safetensors"
    if viewer.state is None:
        save_file({key: tensor.cpu().contiguous() for key, tensor in viewer.extractor.state_dict().items()}, path)
    return replace(viewer, state=path, travels=True)


def of_features(sides: Iterable[int | None]) -> ExtractorIdentity:
    """The identity of precomputed features, whose extractor is unknown."""
    return ExtractorIdentity(FEATURES, "", next((dimension for dimension in sides if dimension), 0))
