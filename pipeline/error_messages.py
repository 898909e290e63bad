"""What a person is told when a setting is wrong: a sentence a mistake, in words of their file and of no library."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ValidationError

from pipeline.errors import SettingsError


def suggest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` where a known name is near, else the known names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def shown(value: object) -> str:
    """A value as a person would write it in params.yaml, cut where it is long."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def sentences(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any], where: str) -> list[str]:
    """Pydantic's errors about `data`, each as a line that begins with the dotted key under `where`."""
    found = [_Problem.of(model, dict(item)) for item in error.errors() if not _spurious(dict(item))]
    lines = [line for problem in _one_branch(found, data) for line in problem.lines(where)]
    return list(dict.fromkeys(lines))


def stand_in(value: object, annotation: Any) -> str | None:
    """Why `true` or a quoted number, which pydantic would take for a number, is refused; None where it is not."""
    members = _members(annotation)
    if not isinstance(value, (bool, str)) or not members:
        return None
    if not all(member in (int, float) or _is_composed(member) for member in members):
        return None
    number = isinstance(value, str) and re.fullmatch(r"[-+]?[\d_.]+([eE][-+]?\d+)?", value)
    quoted = number and (int in members or float in members)
    return _refused(value, _kinds(members)) + (", without quotes" if quoted else "")


# --- pydantic's errors as sentences -------------------------------------------------------------

RULES = {
    "greater_than": "above {gt}",
    "greater_than_equal": "{ge} or above",
    "less_than": "below {lt}",
    "less_than_equal": "{le} or below",
    "finite_number": "a finite number",
    "string_too_short": "a text that is not empty",
    "string_too_long": "text of {max_length} characters or fewer",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
}
WRONG_TYPE = re.compile(r".*_(type|parsing|parsing_size|from_float)|literal_error")


@dataclass(frozen=True)
class _Problem:
    """One of pydantic's errors, its place told apart into keys a person wrote and branches pydantic tried."""

    item: dict[str, Any]
    keys: tuple[str | int, ...]
    owner: type[BaseModel]
    annotation: Any
    above: Any
    union: tuple[int, Any, Any] | None

    @classmethod
    def of(cls, model: type[BaseModel], item: dict[str, Any]) -> _Problem:
        """Follow the location through the annotations.

        `union` is (number of keys before it, the whole union, the member tried) of the first one.
        """
        keys: list[str | int] = []
        owner, current, above, union = model, cast(Any, model), None, None
        for part in item["loc"]:
            members = _members(current)
            tried = next((member for member in members if _tags(member, part)), None) if len(members) > 1 else None
            if tried is not None:
                union, current = union or (len(keys), current, tried), tried
                continue
            if part == "[key]":
                current = cast(Any, str)
                continue
            current = members[0] if len(members) == 1 else current
            owner = current if _is_model(current) else owner
            keys.append(part)
            above, current = current, _below(current, part)
        return cls(item, tuple(keys), owner, current, above, union)

    def lines(self, where: str) -> list[str]:
        """The sentence, or those of a SettingsError raised inside a validator."""
        kind, keys = str(self.item["type"]), list(self.keys)
        if kind == "missing" and keys and isinstance(keys[-1], int):
            return [f"{_dotted(where, keys[:-1])}: {_refused(self.item['input'], _kind(self.above))}"]
        dotted = _dotted(where, keys)
        if kind == "extra_forbidden":
            known = suggest(str(keys[-1]), list(self.owner.model_fields))
            return [f"{dotted}: unknown key{known or '; there are no keys here'}"]
        if kind == "missing":
            return [f"{dotted}: is required and missing"]
        if kind != "value_error":
            return [f"{dotted}: {_refused(self.item['input'], self._rule(kind))}"]
        raised = self.item.get("ctx", {}).get("error")
        if isinstance(raised, SettingsError):
            return [f"{dotted}{line}" if line[:1] in (".", ":", "[") else line for line in raised.problems]
        message = str(self.item["msg"]).removeprefix("Value error, ")
        # A rule across the keys of one section begins with the key that breaks it.
        first = message.partition(":")[0].partition(".")[0]
        models = [member for member in _members(self.annotation) if _is_model(member)]
        return [f"{dotted}{'.' if any(first in model.model_fields for model in models) else ': '}{message}"]

    def _rule(self, kind: str) -> str:
        if kind in RULES:
            return RULES[kind].format(**{name: _plain(bound) for name, bound in self.item.get("ctx", {}).items()})
        if WRONG_TYPE.fullmatch(kind):
            near = (
                suggest(self.item["input"], _literals(self.annotation)) if isinstance(self.item["input"], str) else ""
            )
            return _kinds(_members(self.annotation)) + (near if "did you mean" in near else "")
        return str(self.item["msg"]).removeprefix("Input should be ")


def _one_branch(found: list[_Problem], data: Mapping[str, Any]) -> list[_Problem]:
    """Of a union's branches only the one that the value was meant for; else one sentence for all of them."""
    kept: list[_Problem] = []
    for problem in found:
        if problem.union is None:
            kept.append(problem)
            continue
        depth, whole, tried = problem.union
        value = _at(data, problem.keys[:depth])
        members = _members(whole)
        if any(_suits(value, member) for member in members):
            if _suits(value, tried):
                kept.append(problem)
        elif tried is members[0]:
            item = {"type": "union_type", "input": value}
            kept.append(_Problem(item, problem.keys[:depth], problem.owner, whole, None, None))
    return kept


def _spurious(item: Mapping[str, Any]) -> bool:
    """Pydantic calls a list too short, too, where one of its values is wrong."""
    return item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]


def _at(data: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        data = data[key]
    return data


def _suits(value: object, member: Any) -> bool:
    """Whether a value of this kind was meant for this member of a union."""
    if isinstance(value, Mapping):
        return _is_model(member) or typing.get_origin(member) is dict
    if isinstance(value, (list, tuple)):
        return typing.get_origin(member) in (list, tuple)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return type(value) is member
    return member in (int, float)


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _refused(value: object, rule: str) -> str:
    return f"{shown(value)} is not allowed; it must be {rule}"


def _dotted(where: str, keys: Sequence[str | int]) -> str:
    return where + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


# --- annotations ----------------------------------------------------------------------------------


def _members(annotation: Any) -> list[Any]:
    """The types a value may have, null apart."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [member for part in typing.get_args(annotation) for member in _members(part)]
    return [] if annotation in (None, type(None)) else [annotation]


def _below(annotation: Any, part: str | int) -> Any:
    """What the value at key or index `part` is annotated with; None where nothing is."""
    if _is_model(annotation):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and isinstance(part, int) and Ellipsis not in arguments:
        return arguments[part] if part < len(arguments) else None
    return arguments[-1 if typing.get_origin(annotation) is dict else 0] if arguments else None


def _tags(member: Any, tag: str | int) -> bool:
    """Whether pydantic names this member of a union so: `float`, `constrained-int`, `tuple[…]`, a class."""
    if not isinstance(tag, str):
        return False
    validated = re.fullmatch(r"function-\w+\[.*, (.*)\]", tag)
    plain = (validated[1] if validated else tag).removeprefix("constrained-").partition("[")[0]
    if typing.get_origin(member) is Literal:
        return plain == "literal"
    return plain == getattr(typing.get_origin(member) or member, "__name__", "")


def _kinds(members: Sequence[Any]) -> str:
    return " or ".join(_kind(member) for member in members) or "something else"


def _kind(member: Any) -> str:
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if member in plain:
        return plain[member]
    if _is_model(member):
        return f"a section of the keys {', '.join(member.model_fields)}"
    if member == dict[str, Any]:
        return "a section of keys, such as {name: …}"
    origin, arguments = typing.get_origin(member), typing.get_args(member)
    if origin is Literal:
        *others, last = map(str, arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if origin in (list, tuple):
        return f"a list of {len(arguments)}" if origin is tuple and Ellipsis not in arguments else "a list"
    return "a section of keys"


def _literals(annotation: Any) -> list[str]:
    members = _members(annotation)
    return [
        str(value) for member in members if typing.get_origin(member) is Literal for value in typing.get_args(member)
    ]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_composed(annotation: Any) -> bool:
    return _is_model(annotation) or typing.get_origin(annotation) is tuple
