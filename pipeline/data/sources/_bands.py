"""Labels in files' names, and numbers as labels: cut into bands, which are classes in the order of their numbers."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, TypeVar, cast

from pydantic import Field, field_validator, model_validator

from pipeline.data.source import Entry, printable
from pipeline.data.sources._labelled_folder import FolderSettings, LabelledFolder
from pipeline.errors import SettingsError
from pipeline.natural import natural
from pipeline.settings import shown

KEYS = ("bands", "label_pattern")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
MOST = 256  # bands


class BandSettings(FolderSettings):
    """Where labels are, if not in folders or a csv, and where numbers are cut."""

    label_pattern: str | None = Field(
        default=None,
        description="the class stands in the file's name: a pattern that fits all of it but the ending, whose group "
        "`label` finds it, such as (?P<label>[0-9]+)_.*; `labels` is then left out",
    )
    bands: tuple[float, ...] = Field(
        default=(),
        max_length=MOST,
        description="labels are numbers, and classes the bands between these, each from its number on to below the "
        "next; the last has no end: [0, 19, 30] gives 0-18, 19-29 and 30+",
    )

    @field_validator("label_pattern")
    @classmethod
    def _a_pattern(cls, value: str | None) -> str | None:
        if value is None:
            return value
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"{shown(value)} is no pattern: {error}") from None
        if "label" not in groups:
            raise ValueError(f"{shown(value)} is not allowed; a pattern needs a group (?P<label>…)")
        return value

    @field_validator("bands")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) == 1 or any(a >= b for a, b in pairwise(value)):
            raise ValueError("must be two numbers or more, each above the one before")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> BandSettings:
        if self.label_pattern is not None and self.labels != "folders":
            raise ValueError(f"label_pattern: labels says {shown(self.labels)} already; leave one of them out")
        if self.bands and self.labels == "none":
            raise ValueError("bands: labels is none; give numbers as labels, by folders, a csv, or label_pattern")
        return self


B = TypeVar("B", bound=BandSettings)


class BandedFolder(LabelledFolder[B]):
    """A folder whose labels may stand in files' names, and may be numbers."""

    def check(self, where: str = "ingest.source") -> None:
        super().check(where)
        config = self.config
        if config.label_pattern is not None and not self.labels_found():
            raise SettingsError(
                f"{where}.label_pattern: it fits no file's name of '{config.folder}', such as "
                f"'{printable(self._listing.items[0][0])}'"
            )
        if config.bands and not any(entry.label for entry in self.entries()):
            labels = self.labels_found()
            told = f"no label is a number of {config.bands[0]:g} or above, such as '{labels[0]}'" if labels else ""
            raise SettingsError(f"{where}.bands: {told or 'nothing is labelled; set labels, or label_pattern'}")

    def labels_found(self) -> tuple[str, ...]:
        if self.config.label_pattern is None:
            return super().labels_found()
        found = {label for name, problem in self._listing.items if problem is None and (label := self._in_name(name))}
        return tuple(sorted(found, key=natural))

    def classes(self) -> tuple[str, ...]:
        return names(self.config.bands) if self.config.bands else self.labels_found()

    def entries(self) -> list[Entry]:
        found = super().entries() if self.config.label_pattern is None else self._by_name
        return [banded(entry, self.config.bands) for entry in found] if self.config.bands else found

    def describe(self) -> dict[str, Any]:
        """Without these keys where they say nothing, as before there were any."""
        return {key: value for key, value in super().describe().items() if key not in KEYS or value}

    @property
    def _by_name(self) -> list[Entry]:
        found: list[Entry] = []
        for name, problem in self._listing.items:
            label = self._in_name(name) if problem is None else ""
            none = ("no label in the name", f"the pattern is {self.config.label_pattern}")
            found.append(Entry(printable(name), name, label or None, problem=problem if problem or label else none))
        return found

    def _in_name(self, name: str) -> str:
        """The label in a file's name; empty where the pattern does not fit."""
        found = self._pattern.fullmatch(PurePosixPath(name).stem)
        return printable(found["label"] or "") if found else ""

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(cast(str, self.config.label_pattern))


def names(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """What bands are called: 0-18, 19-29, 30+; of bounds that are not all whole, 0-0.5, 0.5-1, 1+."""
    step = 1 if all(bound == int(bound) for bound in bounds) else 0
    closed = (f"{a:g}" if b - step == a else f"{a:g}-{b - step:g}" for a, b in pairwise(bounds))
    return (*closed, f"{bounds[-1]:g}+")


def banded(entry: Entry, bounds: tuple[float, ...]) -> Entry:
    """The same item with the band of its number as its class; without one, it cannot be used."""
    if entry.problem is not None:
        return entry
    label = entry.label or ""
    number = float(label) if NUMBER.fullmatch(label) else math.nan
    if not math.isfinite(number):
        return replace(entry, label=None, problem=("no number as its label", f"it is {shown(label)}"))
    if number < bounds[0]:
        return replace(entry, label=None, problem=("outside the bands", f"{number:g} is below {bounds[0]:g}"))
    return replace(entry, label=names(bounds)[sum(number >= bound for bound in bounds) - 1])
