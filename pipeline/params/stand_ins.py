"""Data that a family takes, where no data has been looked at: what its own file says it was published for, or its like.

A family's `CANON` names the modality, the shape and the fields of each published configuration. Settings that fit none
of them are tried on the same kind of data at other sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipeline.contract import AnyFamily
from pipeline.errors import UserError
from pipeline.types import DataSpec

CLASSES = tuple(f"class {number}" for number in range(10))
USUAL = DataSpec("image", (3, 32, 32))  # for a family that names no data
SIDES = (32, 64, 16, 128, 28, 256)
CHANNELS = (3, 1)
SAMPLES = (16_384, 4_096, 65_536, 1_024)
WIDTHS = (16, 64, 256)


def stand_in(family: AnyFamily) -> DataSpec | None:
    """The first data of its kind that the family takes as it is set; None where it takes none."""
    for spec in _candidates(family):
        try:
            family.check(spec)
        except UserError:
            continue
        return spec
    return None


def _candidates(family: AnyFamily) -> Iterator[DataSpec]:
    """What its file names, then the same with classes, then at other sizes with classes."""
    canon: Mapping[str, Any] = getattr(sys.modules[type(family).__module__], "CANON", {})
    published: list[DataSpec] = [each.spec for each in canon.values()] or [USUAL]
    yield from published
    labelled = [each if each.classes else replace(each, classes=CLASSES) for each in published]
    yield from labelled
    for spec in dict.fromkeys(labelled):
        for shape in _shapes(spec):
            # What has x's sides keeps x's sides.
            fields = tuple(
                replace(each, shape=(each.shape[0], *shape[1:])) if each.shape[1:] == spec.shape[1:] else each
                for each in spec.fields
            )
            yield replace(spec, shape=shape, fields=fields)


def _shapes(spec: DataSpec) -> Iterator[tuple[int, ...]]:
    if spec.modality == "image":
        for side in SIDES:
            for channels in dict.fromkeys((spec.channels, *CHANNELS)):
                yield (channels, side, side)
    elif spec.modality == "waveform":
        yield from ((spec.channels, samples) for samples in SAMPLES)
    elif spec.modality == "rows":
        yield from ((width,) for width in WIDTHS)
    else:
        yield from ((spec.channels, *(side,) * len(spec.resolution)) for side in SIDES)
