"""What the search hands on: best.yaml (overrides and schedule, exact), trials.csv, and its journal's form."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, ConfigDict

from pipeline.errors import BrokenArtefact, Damaged, SettingsError
from pipeline.storage import files, forms, tables, yaml_text
from pipeline.storage.damage import parse_json
from pipeline.storage.forms import Count, Form, Number

FORMAT_VERSION = 1
MADE_BY = "the tune stage"


@dataclass(frozen=True)
class Best:
    """`overrides` are dotted settings; `score` is None where nothing was searched.

    schedule: list of `{from: examples seen, overrides: …}` in order; each entry replaces all overrides from then on.
        Empty except for a population's.
    """

    overrides: dict[str, Any]
    score: float | None = None
    trial: int | None = None
    repeatable: bool = True
    note: str = ""
    schedule: list[dict[str, Any]] = field(default_factory=lambda: [])
    format_version: int = field(default=FORMAT_VERSION)


def _searchable(dotted: str) -> str:
    """A setting that a search may choose, as `tune.space` has it: best.yaml is data, and changes no other section."""
    if not dotted.startswith(("train.", "families.")):
        raise ValueError("only train.… and families.… can be searched")
    return dotted


_Overrides = dict[Annotated[str, AfterValidator(_searchable)], Any]


class _EntryForm(Form):
    start: Count
    overrides: _Overrides


class _BestForm(Form):
    """The fields of best.yaml that are read."""

    model_config = ConfigDict(extra="ignore")

    overrides: _Overrides
    score: Number | None
    trial: Count | None
    repeatable: bool
    note: str


def save_best(folder: Path, best: Best) -> None:
    """Write best.yaml."""
    content: dict[str, Any] = {
        "format_version": best.format_version,
        "note": best.note,
        "repeatable": best.repeatable,
        "score": best.score,
        "trial": best.trial,
        "overrides": best.overrides,
    }
    if best.schedule:
        content["schedule"] = best.schedule
    files.write_bytes(folder / "best.yaml", yaml_text.dump(content).encode())


def load_best(folder: Path) -> Best:
    """Read best.yaml.

    Raises:
        BrokenArtefact: if it is missing or not of this format.
    """
    path = folder / "best.yaml"
    try:
        data = yaml_text.read(path)
    except FileNotFoundError:
        raise BrokenArtefact(f"{path} is missing; {MADE_BY} makes it") from None
    except SettingsError as error:
        raise BrokenArtefact(f"{path}: {error}; run {MADE_BY} again") from None
    if not isinstance(data, dict) or cast(dict[str, Any], data).get("format_version") != FORMAT_VERSION:
        raise BrokenArtefact(f"{path} is not a search result of format {FORMAT_VERSION}; run {MADE_BY} again")
    found = cast(dict[str, Any], data)
    names = ("overrides", "score", "trial", "repeatable", "note")
    if any(name not in found for name in names) or not isinstance(found["overrides"], dict):
        raise BrokenArtefact(f"{path} is cut short; run {MADE_BY} again")
    forms.check(_BestForm, found, path, MADE_BY)
    schedule = found.get("schedule", [])
    if not _is_schedule(schedule):
        raise BrokenArtefact(
            f"{path}: its schedule must be a list of {{from: examples, overrides: settings}}, each from above 0 and "
            f"beyond the one before; run {MADE_BY} again"
        )
    for entry in schedule:
        forms.check(_EntryForm, {"start": entry["from"], "overrides": entry["overrides"]}, path, MADE_BY)
    return Best(**{name: found[name] for name in names}, schedule=schedule)


def _is_schedule(value: Any) -> bool:
    before = 0
    for entry in cast(list[Any], value) if isinstance(value, list) else [None]:
        if not isinstance(entry, dict) or set(cast(dict[str, Any], entry)) != {"from", "overrides"}:
            return False
        start, overrides = entry["from"], entry["overrides"]
        if type(start) is not int or start <= before or not isinstance(overrides, dict):
            return False
        before = start
    return True


def save_table(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (), delimiter: str = ","
) -> None:
    """A csv (or tsv): `columns`, then what else the rows hold in order of first sight; numbers as repr gives them."""
    columns = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    tables.write(path, columns, ([row.get(name, "") for name in columns] for row in rows), delimiter)


class Journal:
    """One fsynced JSON line per report of a trial: what a killed search is replayed from.

    A torn last line, which a kill may leave, is cut off when the journal is opened. told: hears what is added.
    """

    def __init__(self, path: Path, told: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self.path = path
        self._told = told
        self.entries: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = b""
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                entry = _parsed(line)
                if entry is None:
                    break
                self.entries.append(entry)
                whole += line
            if len(whole) != path.stat().st_size:
                with path.open("r+b") as file:
                    file.truncate(len(whole))
                    os.fsync(file.fileno())
        self._known = {(entry["trial"], entry["reading"]) for entry in self.entries}

    def append(self, entry: dict[str, Any]) -> None:
        """Add a reading once: one that is already known (a replay) is not written again."""
        name = (entry["trial"], entry["reading"])
        if name in self._known:
            return
        self._known.add(name)
        self.entries.append(entry)
        if not self.path.exists():
            # Removed meanwhile, with all of .work: what is known is written again.
            entries = self.entries
            files.write_bytes(self.path, "".join(json.dumps(each, sort_keys=True) + "\n" for each in entries).encode())
        else:
            with self.path.open("ab") as file:
                file.write((json.dumps(entry, sort_keys=True) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        if self._told:
            self._told(entry)

    def of(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The readings of the trial with exactly this configuration, in order."""
        found = [entry for entry in self.entries if entry["config"] == dict(config)]
        return sorted(found, key=lambda entry: entry["reading"])


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = parse_json(line)
    except Damaged:
        return None
    if not isinstance(entry, dict):
        return None
    found = cast(dict[str, Any], entry)
    known = isinstance(found.get("trial"), str | int) and isinstance(found.get("reading"), int)
    return found if known and isinstance(found.get("config"), dict) else None
