"""The base of every Settings class, and how params.yaml's values become one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from pipeline.error_messages import sentences, shown, stand_in, suggest
from pipeline.errors import SettingsError

__all__ = [
    "DataPath",
    "LocalPath",
    "Settings",
    "UserPath",
    "at",
    "home",
    "override",
    "shown",
    "suggest",
    "validate",
]


def home(path: str) -> str:
    """The path with a leading `~` or `~name` replaced by that home folder; all else, addresses too, as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 (Path would turn "s3://x" into "s3:/x")


def _local(path: str) -> str:
    if not path.strip():
        raise ValueError(f"{shown(path)} is not allowed; it must name a file or folder")
    if "\0" in path:
        raise ValueError(f"{shown(path)} is not allowed; a path holds no zero byte")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        raise ValueError(
            f"'{path}' is an address, and files and folders of this machine are read; download it, or mount it, and "
            "name the path here"
        )
    return home(path)


UserPath = Annotated[str, AfterValidator(home)]
"""A path as people write it, `~` for their home folder: replaced once, here, so that all uses agree."""

LocalPath = Annotated[str, AfterValidator(_local)]
"""A `UserPath` that names a file or folder of this machine: not empty, and no s3:// or http:// address."""


def _data(path: str) -> str:
    return path if re.match(r"(?i)(s3|https?)://[^/]", path) else _local(path)


DataPath = Annotated[str, AfterValidator(_data)]
"""A `LocalPath`, or an address of data: s3://bucket/…, http://… or https://…."""


class Settings(BaseModel):
    """Typed, frozen, unknown keys refused. Each room declares its own beside its owner.

    `renamed` says how keys were called before: old key → what it is called now. A person is told so; what was stored
    by an earlier version is read through `modern`. `removed` does the same for keys that are gone: old key → why.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    removed: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, populate_by_name=True, allow_inf_nan=False
    )

    @classmethod
    def modern(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that were stored by this version or an earlier one, by today's keys."""
        return {cls.renamed.get(key, key): value for key, value in stored.items() if key not in cls.removed}

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
    old = {key: f"is called {now} now" for key, now in model.renamed.items()}
    old |= {key: f"is no setting any more; {why}" for key, why in model.removed.items()}
    if any(key in data for key in old):
        raise SettingsError(*(f"{where}.{key}: {what}" for key, what in old.items() if key in data))
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
            inner = _by_name(section.get(part))
            section[part] = section = inner
        section[last] = value
    return result


def at(raw: Mapping[str, Any], dotted: str) -> Any:
    """The value of a dotted setting; None where it is not set."""
    current: Any = raw
    for part in dotted.split("."):
        current = _by_name(current).get(part)
    return current


def _by_name(value: Any) -> dict[str, Any]:
    """A section; a list of choices as one, name → keys, so that `penalties.r1.gamma` is a key; else an empty one."""
    if isinstance(value, (list, tuple)):
        choices = [each if isinstance(each, Mapping) else {"name": each} for each in cast(list[Any], value)]
        return {str(each.get("name")): {k: v for k, v in each.items() if k != "name"} for each in choices}
    return cast(dict[str, Any], value) if isinstance(value, Mapping) else {}


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        mapping = cast(Mapping[str, Any], value)
        return {name: _copied(inner) for name, inner in mapping.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in cast(list[Any], value)]
    return value
