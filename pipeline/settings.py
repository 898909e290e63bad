"""The base of every Settings class, and errors a person can act on."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError


class UserError(Exception):
    """A mistake of the user's: shown without a traceback, exit code 2."""


class SettingsError(UserError):
    """One or more settings are wrong; each line says which, why, and what would do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """Typed, frozen, unknown keys refused. Each room declares its own beside its owner."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, populate_by_name=True, allow_inf_nan=False
    )


S = TypeVar("S", bound=Settings)


def suggest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` where a known name is near, else the known names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def validate(model: type[S], data: object, where: str) -> S:
    """`data` as a `model`, or a SettingsError whose lines begin with the dotted key.

    Raises:
        SettingsError: naming every wrong key at once.
    """
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        raise SettingsError(f"{where}: must be a section of keys, not {data!r}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SettingsError(*(_sentence(model, dict(item), where) for item in error.errors())) from None


def _sentence(model: type[BaseModel], item: dict[str, Any], where: str) -> str:
    parts = [str(part) for part in item["loc"] if not _is_union_tag(part)]
    dotted = ".".join([where, *parts]) if parts else where
    kind = item["type"]
    if kind == "extra_forbidden":
        owner = _model_at(model, list(item["loc"][:-1]))
        known = _names(owner) if owner else []
        return f"{dotted}: unknown key{suggest(parts[-1], known)}"
    if kind == "missing":
        return f"{dotted}: is required and missing"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error":
        return f"{dotted}: {message}"
    return f"{dotted}: {item['input']!r} is not allowed; it must be {message}"


def _is_union_tag(part: object) -> bool:
    """Pydantic puts the tried branch of a union into the location; a person did not write it."""
    return isinstance(part, str) and (part[:1].isupper() or "[" in part or part in {"float", "int", "str", "bool"})


def _names(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _model_at(model: type[BaseModel], location: list[Any]) -> type[BaseModel] | None:
    """The settings class that owns the key at `location`."""
    current: type[BaseModel] | None = model
    for part in location:
        if current is None or _is_union_tag(part):
            continue
        fields = {info.alias or name: info for name, info in current.model_fields.items()}
        info = fields.get(str(part))
        current = _settings_in(info.annotation) if info else None
    return current


def _settings_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, tuple, list, dict) or origin is typing.Annotated:
        for argument in typing.get_args(annotation):
            found = _settings_in(argument)
            if found:
                return found
    return None


def override(params: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `params` with dotted keys replaced, e.g. `{"train.family": "r3gan"}`."""
    result: dict[str, Any] = {name: _copied(value) for name, value in params.items()}
    for dotted, value in overrides.items():
        section = result
        *path, last = dotted.split(".")
        for part in path:
            inner = section.get(part)
            if not isinstance(inner, dict):
                inner = {}
                section[part] = inner
            section = cast(dict[str, Any], inner)
        section[last] = value
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        mapping = cast(Mapping[str, Any], value)
        return {name: _copied(inner) for name, inner in mapping.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in cast(list[Any], value)]
    return value
