"""Whether the source's files can be read, and the settings fit what is known of the data before ingest."""

from __future__ import annotations

from typing import Any

from pipeline.data.opening import open_source
from pipeline.data.preview import preflight
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource
from pipeline.errors import SettingsError, UserError
from pipeline.params import Params
from pipeline.preflight.fits import fits, machine


def before_ingest(params: Params, source: DataSource[Any] | None = None) -> None:
    """Check the machine, the source's files, and family and extractor against what is known of the data already.

    source: one that is open already.

    Raises:
        UserError: saying which setting is wrong.
    """
    machine(params)
    items(params, source)


def items(params: Params, source: DataSource[Any] | None = None) -> None:
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


def resizable(ingest: IngestSettings) -> None:
    """Refuse `resize: none` where it would set everything aside."""
    source = open_source(ingest)
    native = source.native_shape() if source.modality == "image" else None
    if ingest.resize == "none" and ingest.size and native and ingest.size != native[1:]:
        found, asked = ("×".join(map(str, size)) for size in (native[1:], ingest.size))
        raise SettingsError(
            f"ingest.resize: none rejects every image that is not {asked}, and these are {found}; "
            "choose stretch, center_crop or pad, or leave ingest.resolution out"
        )
