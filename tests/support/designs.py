"""Every family small, by what its file declares: its preset `smoke`, and data of the kind it was published for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.errors import SettingsError
from pipeline.families._shared import Canon
from pipeline.types import DataSpec

NAMES = plugins.names("families")
SIDE, SAMPLES, RATE = 16, 1024, 8_000
CLASSES = ("a", "b", "c")


def canon_of(name: str) -> dict[str, Canon]:
    """The published configurations of a family."""
    return getattr(plugins.module("families", name), "CANON", {})


def presets_of(name: str) -> dict[str, dict[str, Any]]:
    """The presets of a family."""
    return getattr(plugins.module("families", name), "PRESETS", {})


def takes_labels(name: str) -> bool:
    """Whether its networks can be given labels."""
    return bool(getattr(plugins.module("families", name).Config, "labelled", True))


def smoke(name: str, **keys: Any) -> AnyFamily:
    """A family at its smallest preset; as its defaults have it where it has none."""
    preset = {"preset": "smoke"} if "smoke" in presets_of(name) else {}
    if keys.get("conditional") is False and "conditional" not in plugins.module("families", name).Config.model_fields:
        del keys["conditional"]
    return plugins.load("families", {"name": name, **preset, **keys})


def data_for(name: str, side: int = SIDE, classes: tuple[str, ...] = CLASSES) -> DataSpec:
    """Small data of the kind of the first that the family's file names as published; images where it names none."""
    published = next((each.spec for each in canon_of(name).values()), DataSpec("image", (3, side, side)))
    cube = (published.shape[0], side, side, side)
    shapes = {
        "image": (published.shape[0], side, side),
        "waveform": (1, SAMPLES),
        "voxels": cube,
        "video": cube,
    }
    shape = shapes.get(published.modality, published.shape)
    fields = tuple(replace(each, shape=_reduced(each.shape, published, shape)) for each in published.fields)
    rate = RATE if published.modality == "waveform" else None
    return DataSpec(published.modality, shape, classes, published.dtype, fields, rate, columns=published.columns)


def _reduced(field: tuple[int, ...], published: DataSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A field's shape beside an x of `shape`: as x where it is as large, of images as much smaller as published."""
    if field[1:] == published.resolution:
        return shape
    if published.modality != "image" or len(field) != len(published.shape):  # captions are no image
        return field
    return (
        field[0],
        *(side * own // whole for side, own, whole in zip(shape[1:], field[1:], published.resolution, strict=True)),
    )


def makes_images_alone(name: str) -> bool:
    """Whether it reads images, with or without labels, and nothing else."""
    published = data_for(name)
    return published.modality == "image" and not published.fields


def fitting(name: str, preset: str | None) -> DataSpec:
    """The data that the preset was published for; else the first that it takes."""
    canon = canon_of(name)
    if preset in canon:
        return canon[preset].spec
    family: AnyFamily = plugins.load("families", {"name": name} | ({"preset": preset} if preset else {}))
    tried = [*(data_for(name, side) for side in (16, 28, 32, 64, 128, 256)), *(each.spec for each in canon.values())]
    return next(spec for spec in tried if takes(family, spec))


def takes(family: AnyFamily, spec: DataSpec) -> bool:
    """Whether the family can be built for this data."""
    try:
        family.check(spec)
    except SettingsError:
        return False
    return True
