"""Whether settings, data and machine fit each other, as far as it can be told before any work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline import plugins
from pipeline.cluster.launch import use_cuda
from pipeline.contract import AnyFamily
from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.experiment import check_classes, check_data
from pipeline.formats.shards import Manifest
from pipeline.params import Params, tried
from pipeline.settings import SettingsError, UserError, shown
from pipeline.types import DataSpec


def before_ingest(params: Params) -> None:
    """Check the source's files, and family and extractor against what is known of the data already.

    Raises:
        UserError: saying which setting is wrong.
    """
    machine(params)
    preview = packing.preflight(params.ingest)
    resizable(params.ingest)
    if preview.resolution is None:
        fits(params, DataSpec("image", (1, 1, 1), preview.classes), shape_known=False)
        return
    problems: list[UserError] = []
    possible = (preview.channels,) if preview.channels else (1, 3, 4)
    for channels in possible:
        try:
            fits(params, DataSpec("image", (channels, *preview.resolution), preview.classes))
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
    try:
        Path(params.run.storage).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"run.storage: '{params.run.storage}' cannot be made ({error.strerror})") from None


def resizable(settings: IngestSettings) -> None:
    """Refuse `resize: none` where it would set everything aside."""
    native = packing.open_source(settings).native_shape()
    if settings.resize == "none" and settings.size and native and settings.size != native[1:]:
        found, asked = ("×".join(map(str, size)) for size in (native[1:], settings.size))
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
            check_data(family, spec) if shape_known else check_classes(family, spec.classes)
        except UserError as error:
            # What is wrong whatever is searched is said once.
            if str(error) not in problems:
                problems.append(f"{searched} would not do: {error}" if searched else str(error))
    if problems:
        raise SettingsError(*dict.fromkeys(problems))


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
