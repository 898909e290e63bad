"""Plug-ins are found by file name: one file in a room adds one thing, nothing else is edited.

A plug-in file holds `Config` (its Settings) and one class named for the room, built from it:
`Source`, `Transform`, `Family`, `TextEncoder`, `Asset`, `Extractor`, `Metric`, `Loss`, `Penalty`, `Augmentation`,
`Exploration`. Files whose name begins with `_` are shared by their room and are no plug-ins. A project's own folder may
hold more of each room (own_plugins.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from pipeline import own_plugins
from pipeline.errors import SettingsError
from pipeline.settings import Settings, shown, suggest, validate

ROOMS: dict[str, str] = {
    "data.sources": "Source",
    "data.transforms": "Transform",
    "families": "Family",
    "text_encoders": "TextEncoder",
    "assets": "Asset",
    "extractors": "Extractor",
    "metrics": "Metric",
    "losses": "Loss",
    "penalties": "Penalty",
    "explorations": "Exploration",
    "augmentation": "Augmentation",
}

_recording: ContextVar[set[str] | None] = ContextVar("recording", default=None)


@contextmanager
def recorded() -> Generator[set[str]]:
    """The modules of all plug-ins that are configured in the block, those within another's settings too."""
    found: set[str] = set()
    token = _recording.set(found)
    try:
        yield found
    finally:
        _recording.reset(token)


def names(room: str) -> list[str]:
    """The plug-ins of a room, sorted: what its folder holds, and that of the project's own.

    Raises:
        SettingsError: if the project has one of the same name as the library.
    """
    package = importlib.import_module(f"{__package__}.{room}")
    found = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]
    own = own_plugins.files(room)
    if both := sorted({*found} & {*own}):
        path = own_plugins.file_of(f"{__package__}.{room}.{both[0]}")
        raise SettingsError(
            f"{path}: the library has a {ROOMS[room].lower()} '{both[0]}' already; name yours otherwise"
        )
    return sorted([*found, *own])


def module(room: str, name: str, where: str | None = None) -> ModuleType:
    """The plug-in file `name` of `room`.

    Raises:
        SettingsError: for an unknown name, with the nearest known one.
    """
    known = names(room)
    if name not in known:
        kind = ROOMS[room].lower()
        raise SettingsError(f"{room if where is None else where}: there is no {kind} '{name}'{suggest(name, known)}")
    return importlib.import_module(f"{__package__}.{room}.{name}")


def class_of(room: str, name: str) -> type[Any]:
    """The plug-in's class, for what it declares before anything is built."""
    found: type[Any] = getattr(module(room, name), ROOMS[room])
    return found


def configure(room: str, settings: Mapping[str, Any], where: str | None = None) -> Settings:
    """The typed Config of `{"name": file, "preset": optional, …keys}`; a preset's values come first.

    Raises:
        SettingsError: for an unknown plug-in, preset or key, or a value out of range.
    """
    where = room if where is None else where
    name = settings.get("name")
    if not isinstance(name, str):
        problem = (
            f"{shown(name)} is not allowed; it must be one" if "name" in settings else "is required and missing; one"
        )
        raise SettingsError(f"{where}.name: {problem} of {', '.join(names(room))}")
    keys = {key: value for key, value in settings.items() if key not in {"name", "preset"}}
    found = module(room, name, f"{where}.name")
    if (recording := _recording.get()) is not None:
        recording.add(found.__name__)
    config: type[Settings] = found.Config
    preset = settings.get("preset")
    if preset is not None:
        presets: dict[str, dict[str, Any]] = getattr(found, "PRESETS", {})
        if not isinstance(preset, str) or preset not in presets:
            advice = suggest(str(preset), list(presets)) or f"; {name} has none"
            raise SettingsError(f"{where}.preset: there is no preset {shown(preset)}{advice}")
        keys = merge(presets[preset], keys)
    return validate(config, keys, where)


def load(room: str, settings: Mapping[str, Any], where: str | None = None) -> Any:
    """The plug-in itself, built from its Config: `load("families", {"name": "dcgan"})`."""
    config = configure(room, settings, where)
    return class_of(room, str(settings["name"]))(config)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section; a plug-in choice (`name:`) replaces whole."""
    result = dict(base)
    for name, value in over.items():
        below = result.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[name] = merge(below, value) if both and "name" not in value else value  # pyright: ignore
    return result
