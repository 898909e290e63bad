"""Whether settings and data fit each other, as far as it can be told before any work."""

from __future__ import annotations

from pathlib import Path

from pipeline.data import packing
from pipeline.experiment import check_data
from pipeline.formats.shards import Manifest
from pipeline.params import Params
from pipeline.types import DataSpec

UNKNOWN = ("?", "?")


def before_ingest(params: Params) -> None:
    """Check the source's files, and the family against what is known of the data already.

    Raises:
        UserError: saying which setting is wrong.
    """
    preview = packing.preflight(params.ingest)
    if preview.channels and preview.resolution:
        # Classes that only reading would tell are given the benefit of the doubt.
        spec = DataSpec("image", (preview.channels, *preview.resolution), preview.classes or UNKNOWN)
        check_data(params.load_family(), spec)


def after_ingest(params: Params, shards: Path) -> None:
    """Check the family against the shards."""
    check_data(params.load_family(), Manifest.load(shards).spec)
