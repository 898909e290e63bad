"""The plug-ins that a stage's settings choose, and those that its search may choose."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.data import derived
from pipeline.params import Params
from pipeline.params.space import tried
from pipeline.settings import shown

SOURCES, TRANSFORMS, EXTRACTORS = "pipeline.data.sources.", "pipeline.data.transforms.", "pipeline.extractors."


def plugins_of(params: Params, stage: str) -> set[str]:
    """The modules of the plug-ins whose code decides what a stage computes: those of its search's choices too."""
    with plugins.recorded() as found:
        derived.check(params.ingest.derive)  # readers of the shards compute these fields
        if stage == "ingest":
            plugins.configure("data.sources", params.ingest.source, "ingest.source")
            return found
        plugins.configure("extractors", params.reference.extractor, "reference.extractor")
        if params.reference.text_encoder is not None and stage in ("reference", "evaluate"):
            plugins.configure("text_encoders", params.reference.text_encoder, "reference.text_encoder")
        if stage == "reference":
            return found
        for _ in families(params):  # loaded, as a family's defaults name losses and penalties
            pass
        for metric in params.evaluate.metrics if stage == "evaluate" else ():
            plugins.configure("metrics", metric, "evaluate.metrics")
    # Checking settings looks at the source, and at the extractor for the name of a score.
    unused = (SOURCES, TRANSFORMS, EXTRACTORS) if stage == "register" else (SOURCES,)
    return {name for name in found if not name.startswith(unused)}


def families(params: Params) -> Iterator[tuple[str, AnyFamily]]:
    """The family as it is set and with each searched value, which is named."""
    space = params.tune.space if params.tune.trials else {}
    chosen = tried(space["train.family"]) if "train.family" in space else [params.train.family]
    for name in chosen:
        yield "", params.with_overrides({"tune.space": {}, "train.family": name}).load_family()
        for dotted, searched in space.items():
            if dotted.startswith(f"families.{name}."):
                for value in tried(searched):
                    overrides = {"tune.space": {}, "train.family": name, dotted: value}
                    yield f"tune.space.{dotted}: {shown(value)}", params.with_overrides(overrides).load_family()
