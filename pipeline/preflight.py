"""Whether settings, data and machine fit each other, as far as it can be told before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import plugins
from pipeline.cluster.addresses import resolve
from pipeline.cluster.room import use_cuda
from pipeline.contract import AnyFamily
from pipeline.data.preview import foresee, open_source, preflight
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource
from pipeline.evaluation.foreign import read_statistics
from pipeline.experiment import check_classes, check_data, check_fields
from pipeline.formats.extraction import BLIND, identity_of
from pipeline.formats.filesystems import is_remote
from pipeline.formats.reference import Reference
from pipeline.formats.shards import Manifest
from pipeline.formats.store import Store
from pipeline.metrics._shared import reported_name
from pipeline.params import Params
from pipeline.params.choices import KINDS
from pipeline.params.space import tried, unsteady
from pipeline.settings import Settings, SettingsError, UserError, shown
from pipeline.types import DataSpec


def settings(params: Params) -> list[str]:
    """All that can be checked without work or a trace: files, data, families, weights, the score that decides.

    Returns what could not be checked here, and why.

    Raises:
        UserError: with everything that is wrong.
    """
    said: list[str] = []
    problems: list[str] = []

    def attempt(checked: Callable[[], None]) -> None:
        try:
            checked()
        except SettingsError as error:
            problems.extend(error.problems)
        except UserError as error:
            problems.append(str(error))

    attempt(lambda: _storage(params))
    there = elsewhere(params)
    if there:
        said.append(f"{there} is not on this machine: the job of {params.run.address} will look for it")
    else:
        attempt(lambda: _items(params))
    statistics = params.reference.statistics
    if statistics is not None:
        attempt(lambda: _readable(Path(statistics)))
    attempt(lambda: metric(params))
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    return said


def elsewhere(params: Params) -> str:
    """The source's path where only a cluster's jobs may see it; else nothing."""
    if resolve(params.run.address).kind != "submit":
        return ""
    source = open_source(params.ingest)
    given = [getattr(source.config, field) for field in source.paths]
    return next((str(path) for path in given if path and Path(path).is_absolute() and not Path(path).exists()), "")


def _items(params: Params) -> None:
    """The data, and what its listing alone has ingest refuse."""
    source = open_source(params.ingest)
    data(params, source)
    foresee(params.ingest, source)


def _readable(statistics: Path) -> None:
    read_statistics(statistics, "reference.statistics")


def _storage(params: Params) -> None:
    """What `machine` checks, without making a folder."""
    use_cuda(params.run)
    if is_remote(params.run.storage):
        return
    path = Path(params.run.storage).absolute()
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "is not writable" if there.is_dir() else "is a file"
        raise SettingsError(f"run.storage: '{params.run.storage}' cannot be made: {there} {why}")


def before_ingest(params: Params, source: DataSource[Any] | None = None) -> None:
    """Check the machine, the source's files, and family and extractor against what is known of the data already.

    source: one that is open already.

    Raises:
        UserError: saying which setting is wrong.
    """
    machine(params)
    data(params, source)


def data(params: Params, source: DataSource[Any] | None = None) -> None:
    """Check the source's files, and family and extractor against what is known of the data already.

    Raises:
        UserError: saying which setting is wrong.
    """
    preview = preflight(params.ingest, source)
    resizable(params.ingest)
    if preview.resolution is None:
        fits(params, preview.spec(1), shape_known=False)
        return
    problems: list[UserError] = []
    possible = (preview.channels,) if preview.channels else (1, 3, 4)
    for channels in possible:
        try:
            fits(params, preview.spec(channels))
        except UserError as error:
            problems.append(error)
    if len(problems) == len(possible):
        raise problems[0]


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


def metric(params: Params) -> None:
    """Check the name of the score that decides a promotion against whose weights the extractor has.

    Raises:
        SettingsError: with the name that this extractor's scores go by.
        UserError: if the weights are not here.
    """
    name, config = _extractor(params)
    answer = getattr(plugins.module("extractors", name), "about", None)
    if answer is None:
        return
    identity, wanted = identity_of(name, config.model_dump(mode="json"), 0, answer(config), ""), params.register.metric
    for kind in KINDS:
        own = reported_name(kind, identity)
        other = reported_name(kind, replace(identity, published=not identity.published))
        if own != other and wanted.startswith(other) and not wanted.startswith(own):
            what = "the published" if identity.published else "not the published"
            raise SettingsError(
                f"register.metric: the Inception network's weights are {what} ones, so that '{wanted}' is called "
                f"'{wanted.replace(other, own)}'"
            )


def same_weights(params: Params, reference: Reference) -> None:
    """Refuse a reference measured with other weights than the settings name now, where that file is here to tell.

    DVC cannot see a file outside the project, such as the one that `weights: auto` stands for.

    Raises:
        SettingsError: with the command that measures anew.
    """
    measured = str(reference.card.report.get("weights_sha256"))
    name, config = _extractor(params)
    answer = getattr(plugins.module("extractors", name), "about", None)
    try:
        now = measured if answer is None else str(answer(config)["weights_sha256"])
    except UserError:
        return  # the artefact holds the weights that it was measured with
    if now != measured:
        raise SettingsError(
            f"reference.extractor.weights: artifacts/reference was measured with the weights {measured[:12]}…, and the "
            f"file that is named is {now[:12]}… now; measure anew with `dvc repro -f -s reference`"
        )


def _extractor(params: Params) -> tuple[str, Settings]:
    chosen = params.reference.extractor
    return str(chosen["name"]), plugins.configure("extractors", chosen, "reference.extractor")


def resizable(ingest: IngestSettings) -> None:
    """Refuse `resize: none` where it would set everything aside."""
    source = open_source(ingest)
    native = source.native_shape() if source.modality == "image" else None
    if ingest.resize == "none" and ingest.size and native and ingest.size != native[1:]:
        found, asked = ("×".join(map(str, size)) for size in (native[1:], ingest.size))
        raise SettingsError(
            f"ingest.resize: none sets every image aside that is not {asked}, and these are {found}; "
            "choose stretch, center_crop or pad, or leave ingest.resolution out"
        )


def fits(params: Params, spec: DataSpec, shape_known: bool = True) -> None:
    """Check the extractor, and every family that may be trained, against the data; or against its classes alone."""
    problems: list[str] = []
    check = getattr(plugins.module("extractors", str(params.reference.extractor["name"])), "check", None)
    try:
        if check is not None:
            check(spec)
    except UserError as error:
        problems.append(str(error))
    for searched, family in families(params):
        try:
            check_judge(params, family)
            if shape_known:
                check_data(family, spec)
            else:
                check_classes(family, spec.classes)
                check_fields(family, [name for name, _ in spec.fields])
        except UserError as error:
            # What is wrong whatever is searched is said once.
            if str(error) not in problems:
                problems.append(f"{searched} would not do: {error}" if searched else str(error))
    if params.tune.trials and params.tune.mode == "population" and shape_known and not problems:
        problems += unsteady(params, spec)
    if problems:
        raise SettingsError(*dict.fromkeys(problems))


def check_judge(params: Params, family: AnyFamily) -> None:
    """Refuse a search by Fréchet distance where nobody looks at samples, and an extractor where there is no data.

    Raises:
        SettingsError: naming the extractor that would do.
    """
    blind = params.reference.extractor["name"] == BLIND
    name = type(family).__module__.rpartition(".")[2]
    if blind and family.objective == "frechet":
        raise SettingsError(
            f"reference.extractor.name: none looks at nothing, and {name} is judged by what an extractor sees; take "
            "classifier, or random_projection where nothing is labelled"
        )
    if not blind and not family.needs:
        raise SettingsError(
            f"reference.extractor.name: {name} has no data that an extractor could look at; take none, with "
            f"register.metric: {family.objective}"
        )


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
