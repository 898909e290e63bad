"""The base of every Settings class, and how params.yaml's values become one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from pipeline.messages import SettingsError, UserError, sentences, shown, stand_in, suggest

__all__ = ["Settings", "SettingsError", "UserError", "at", "override", "shown", "suggest", "validate"]


class Settings(BaseModel):
    """Typed, frozen, unknown keys refused. Each room declares its own beside its owner."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, populate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_stand_in(cls, value: object, info: ValidationInfo) -> object:
        """`true` is no 1, and '64' in quotes no 64."""
        refused = stand_in(value, cls.model_fields[info.field_name].annotation) if info.field_name else None
        if refused:
            raise ValueError(refused)
        return value


S = TypeVar("S", bound=Settings)


def validate(model: type[S], data: object, where: str) -> S:
    """`data` as a `model`, or a SettingsError whose lines begin with the dotted key.

    Raises:
        SettingsError: naming every wrong key at once.
    """
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        raise SettingsError(f"{where}: must be a section of keys, not {shown(data)}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SettingsError(*sentences(error, model, cast(Mapping[str, Any], data), where)) from None


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


def at(raw: Mapping[str, Any], dotted: str) -> Any:
    """The value of a dotted setting; None where it is not set."""
    current: Any = raw
    for part in dotted.split("."):
        if not isinstance(current, Mapping):
            return None
        current = cast(Mapping[str, Any], current).get(part)
    return current


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        mapping = cast(Mapping[str, Any], value)
        return {name: _copied(inner) for name, inner in mapping.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in cast(list[Any], value)]
    return value
