"""Derived fields: which `ingest.derive` asks for, what they are, and how they are computed whenever examples are read.

They take no room in shards or cache. The manifest's spec holds each with its transform's whole Config, so that readers
need no settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import plugins
from pipeline.data.transform import Transform
from pipeline.errors import BrokenArtefact, SettingsError, UserError
from pipeline.settings import shown, suggest
from pipeline.storage.forms import FIELD_NAME, TAKEN
from pipeline.types import Array, FieldSpec

ROOM = "data.transforms"
WHERE = "ingest.derive"


def check(derive: Mapping[str, Any]) -> None:
    """Refuse names that no field can have, and transforms or keys that there are not.

    Raises:
        SettingsError: naming every wrong key.
    """
    problems: list[str] = []
    for name, choice in derive.items():
        try:
            if not re.fullmatch(FIELD_NAME, name) or name in TAKEN:
                raise SettingsError(f"{WHERE}.{name}: must be a new name of at most 20 small letters, digits and _")
            _transform(name, choice)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(*problems)


def fields(derive: Mapping[str, Any], stored: Sequence[FieldSpec]) -> tuple[FieldSpec, ...]:
    """The fields that `ingest.derive` asks for, of what examples hold: `x` and the fields beside it.

    Raises:
        SettingsError: naming every field that cannot be derived, and why.
    """
    check(derive)
    known = {each.name: each for each in stored}
    found: list[FieldSpec] = []
    problems: list[str] = []
    for name, choice in derive.items():
        of = choice.get("of", "x")
        if name in known:
            problems.append(f"{WHERE}.{name}: the source has a field of this name; take another")
        elif of not in known:
            problems.append(f"{WHERE}.{name}.of: examples hold no '{of}'{suggest(str(of), list(known))}")
        else:
            transform = _transform(name, choice)
            try:
                made = transform.field(known[of])
            except ValueError as error:
                problems.append(f"{WHERE}.{name}: {choice['name']} {error}")
                continue
            whole = json.dumps({"name": choice["name"], **transform.config.model_dump(mode="json")}, sort_keys=True)
            found.append(replace(made, name=name, source="derived", of=of, transform=whole))
    if problems:
        raise SettingsError(*problems)
    return tuple(found)


def foretold(
    derive: Mapping[str, Any], stored: Sequence[FieldSpec], unknown: Collection[str], like: tuple[int, ...]
) -> tuple[FieldSpec, ...]:
    """As `fields`, before anything is read: of shape `like` where it is made from a field of unknown shape.

    Raises:
        SettingsError: as `fields`.
    """
    check(derive)
    now = {name: choice for name, choice in derive.items() if choice.get("of", "x") not in unknown}
    made = {each.name: each for each in fields(now, stored)}
    return tuple(made.get(name) or FieldSpec.usual(name, "tensor", like, "derived") for name in derive)


def _transform(name: str, choice: Any) -> Transform[Any]:
    if not isinstance(choice, Mapping) or not isinstance(choice.get("of", "x"), str):
        raise SettingsError(f"{WHERE}.{name}: must be a transform, such as {{name: grey}}, not {shown(choice)}")
    keys = {key: value for key, value in choice.items() if key != "of"}
    return plugins.load(ROOM, keys, f"{WHERE}.{name}")


class Derived:
    """The derived fields of some data, ready to be computed.

    Raises:
        BrokenArtefact: if a manifest's derived field is not what its transform makes.
    """

    def __init__(self, derived: Iterable[FieldSpec], stored: Sequence[FieldSpec]) -> None:
        known = {each.name: each for each in stored}
        self._made: list[tuple[FieldSpec, Transform[Any]]] = []
        for each in derived:
            try:
                transform: Transform[Any] = plugins.load(ROOM, json.loads(each.transform), f"the field '{each.name}'")
                right = transform.field(known[each.of])
            except (UserError, ValueError) as error:
                raise BrokenArtefact(f"the shards' field '{each.name}' cannot be derived: {error}") from None
            if (right.kind, right.shape, right.dtype, right.flips) != (each.kind, each.shape, each.dtype, each.flips):
                raise BrokenArtefact(f"the shards' field '{each.name}' is not what {each.transform} makes")
            self._made.append((each, transform))

    @property
    def fields(self) -> tuple[FieldSpec, ...]:
        return tuple(each for each, _ in self._made)

    def computed(
        self, held: Mapping[str, Array], numbers: NDArray[np.int64], wanted: Collection[str]
    ) -> dict[str, Array]:
        """The derived fields (n, *shape) of stored ones (n, …), examples `numbers` of their split.

        wanted: names of those to compute.
        """
        return {each.name: transform(held[each.of], numbers) for each, transform in self._made if each.name in wanted}
