"""Whether the machine, the extractor and every family that may be trained fit the data, once its shape is known."""

from __future__ import annotations

import functools
from pathlib import Path

from pipeline import plugins
from pipeline.assets import place
from pipeline.cluster.training.resources import use_cuda
from pipeline.contract import AnyFamily
from pipeline.contract.checks import check_data, check_fields
from pipeline.contract.metric import AnyMetric
from pipeline.errors import SettingsError, UserError
from pipeline.formats.shards import Manifest
from pipeline.params import Params
from pipeline.params.chosen import families
from pipeline.params.space import unsteady
from pipeline.score_names import extractor_class
from pipeline.scoring.text_choice import ROOM, WHERE, disagreement
from pipeline.storage.filesystems import is_remote
from pipeline.storage.store import Store
from pipeline.types import DataSpec

SOURCES = "data.sources"


def after_ingest(params: Params, shards: Path) -> None:
    """Check machine, family and extractor against the shards."""
    machine(params)
    fits(params, Manifest.load(shards).spec)


def machine(params: Params) -> None:
    """Check what `run:` asks of this machine: the device, and scratch that can be written to."""
    use_cuda(params.run)
    if is_remote(params.run.storage):
        Store(params.run.storage).holds("zerosum")
        return
    try:
        Path(params.run.storage).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"run.storage: '{params.run.storage}' cannot be made ({error.strerror})") from None


def fits(params: Params, spec: DataSpec, shape_known: bool = True) -> None:
    """Check the extractor, and every family that may be trained, against the data; or against its classes alone."""
    problems: list[str] = []
    sources = functools.partial(sources_of_fields, str(params.ingest.source["name"]))
    try:
        extractor_class(str(params.reference.extractor["name"])).check(spec)
    except UserError as error:
        problems.append(str(error))
    problems += text_encoder(params, spec) if shape_known else []
    for searched, family in families(params):
        try:
            check_extractor(params, family)
            if family.learnt_encoder is not None:
                disagreement(family.name, family.learnt_encoder, params.reference.text_encoder)
            check_lanes(params, family)
            if shape_known:
                check_data(family, spec, sources)
                family.check_lane(params.train.batch_size // params.train.lanes)
            else:
                family.check_classes(spec.classes)
                check_fields(family, [each.name for each in spec.fields], sources)
        except UserError as error:
            # A problem of every searched value is reported once.
            if str(error) not in problems:
                problems.append(f"{searched} is not a valid value: {error}" if searched else str(error))
    if params.tune.trials and params.tune.mode == "population" and shape_known and not problems:
        problems += unsteady(params, spec)
    if problems:
        raise SettingsError(*dict.fromkeys(problems))


def text_encoder(params: Params, spec: DataSpec) -> list[str]:
    """What is wrong with the text encoder that the reference stage trains, for this data."""
    chosen = params.reference.text_encoder
    if chosen is None:
        return []
    if not extractor_class(str(params.reference.extractor["name"])).looks:
        return [f"{WHERE}: it learns from what the extractor sees, and reference.extractor.name: none sees nothing"]
    try:
        plugins.load(ROOM, chosen, WHERE).check(spec, WHERE)
    except UserError as error:
        return [str(error)]
    return []


def sources_of_fields(chosen: str = "") -> dict[str, str]:
    """Each field that a source declares, with that source, and the setting that it needs for it.

    Of several, the chosen one; else one that reads a folder.
    """
    known = {source: plugins.class_of(SOURCES, source) for source in plugins.names(SOURCES)}
    order = sorted(known, key=lambda name: (name == chosen, "folder" in known[name].paths))  # later ones win
    offered = {field: f"{name}, {key}" for name in order for field, key in known[name].offered.items()}
    return offered | {each.name: name for name, source in known.items() for each in source.fields}


def check_lanes(params: Params, family: AnyFamily) -> None:
    """Refuse lanes of fewer examples than the design needs.

    Raises:
        SettingsError: with as many lanes as would do.
    """
    batch, lanes, least = params.train.batch_size, params.train.lanes, family.least_lane
    if batch // lanes < least:
        raise SettingsError(
            f"train.lanes: {family.name} needs {least} examples a lane, and {lanes} lanes of a batch of {batch} have "
            f"{batch // lanes}; take {max(1, batch // least)} or fewer, or raise train.batch_size"
        )


def check_extractor(params: Params, family: AnyFamily) -> None:
    """Refuse a search by Fréchet distance where nobody looks at samples, and an extractor where there is no data.

    Also losses and metrics that look through weights that are not there.

    Raises:
        SettingsError: naming the extractor that would do.
    """
    blind = not extractor_class(str(params.reference.extractor["name"])).looks
    if blind and family.objective == "frechet":
        raise SettingsError(
            f"reference.extractor.name: none looks at nothing, and {family.name} is scored by what an extractor sees; "
            "take classifier, or random_projection where nothing is labelled"
        )
    for name in family.assets:
        if not place(name).is_file():
            raise SettingsError(
                f"families.{family.name}.content: the weights of {name} are not on this machine; `zerosum weights "
                f"fetch {name}` puts them there, or take content: {{name: reference}}, which needs none"
            )
    for metric in params.evaluate.metrics:
        looking: AnyMetric = plugins.load("metrics", metric, "evaluate.metrics")
        for name in looking.assets:
            if not place(name).is_file():
                raise SettingsError(
                    f"evaluate.metrics: {metric['name']} needs the weights of {name}, which are not on this machine; "
                    f"`zerosum weights fetch {name}` puts them there, or take network: reference, which needs none"
                )
    if not blind and not family.needs:
        raise SettingsError(
            f"reference.extractor.name: {family.name} has no data that an extractor could look at; take none, with "
            f"register.metric: {family.objective}"
        )
