"""Scores as records, and the report artefact: what was measured, in a form that can be held against another.

report/metrics.json    flat numbers, for `dvc metrics`
report/scores.json     the records: each value with the protocol it was measured by
report/plots/          tables and pictures, for `dvc plots`
report/report.html     the page a person reads
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.errors import BrokenArtefact, Damaged, UserError
from pipeline.storage import files, forms
from pipeline.storage.damage import parse_json
from pipeline.storage.forms import Count, Form, Number, Sha256

FORMAT_VERSION = 1
MADE_BY = "the evaluate stage"


@dataclass(frozen=True)
class ScoreRecord:
    """One value and the whole protocol behind it.

    value: the mean over `repeats` seeds (`seed`, `seed + 1`, …). spread: their standard deviation
    (n − 1); of a single seed that of the parts the metric itself averages (splits, subsets), None
    where it has none. n_real, n_fake: numbers on either side of one repeat; 0 where a side plays no
    part, None where foreign statistics don't tell. split: the reals compared with; None where they
    are no split of shards. ema: averaged weights or the raw ones, truncation: of the latents; both
    None where no model was sampled. settings: the metric's own (k, degree, splits, …). real: sha256
    of the reals' content. warnings: what makes the value less than it seems.
    """

    name: str
    value: float
    spread: float | None
    n_real: int | None
    n_fake: int | None
    split: Literal["train", "holdout"] | None
    extractor: ExtractorIdentity
    resize: str | None
    seed: int
    repeats: int
    ema: bool | None
    truncation: float | None
    version: str
    note: str = ""
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=lambda: {})
    real: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return {**asdict(self), "extractor": self.extractor.to_json(), "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScoreRecord:
        """A record of scores.json.

        Raises:
            BrokenArtefact: if a field is missing, unknown, or not what it must be.
        """
        forms.check(_RecordForm, data, "this is no whole score record", MADE_BY)
        whole = dict(data)
        whole["extractor"] = ExtractorIdentity.from_json(data["extractor"])
        whole["warnings"] = tuple(data.get("warnings", ()))
        return cls(**whole)

    @classmethod
    def from_text(cls, text: str) -> ScoreRecord:
        """A record as a version's tag holds it.

        Raises:
            BrokenArtefact: if it is none.
        """
        try:
            data = parse_json(text)
        except Damaged as error:
            raise BrokenArtefact(f"this is no whole score record: {forms.printable(str(error))}") from None
        return cls.from_json(data)


class _IdentityForm(Form):
    name: str
    dimension: Count
    sha256: Sha256 | Literal[""] | None = None
    tap: Count | None = None
    published: bool = False
    alpha: str | None = None
    accuracy: Number | None = None


class _RecordForm(Form):
    name: str
    value: Number
    spread: Number | None
    n_real: Count | None
    n_fake: Count | None
    split: Literal["train", "holdout"] | None
    extractor: _IdentityForm
    resize: str | None
    seed: Count
    repeats: Count
    ema: bool | None
    truncation: Number | None
    version: str
    note: str = ""
    warnings: list[str] = Field(default_factory=lambda: [])
    settings: dict[str, Any] = Field(default_factory=lambda: {})
    real: str = ""


# What may differ between two runs that are compared; everything else is protocol.
OUTCOME = frozenset({"value", "spread", "note", "version", "warnings"})


def unlike(a: ScoreRecord, b: ScoreRecord) -> list[str]:
    """Where two records' protocols differ, as `field: a | b`; empty = they may be compared."""
    found: list[str] = []
    for name in (each.name for each in fields(ScoreRecord) if each.name not in OUTCOME):
        mine, others = getattr(a, name), getattr(b, name)
        if name == "extractor":
            found += _unlike_extractors(a.extractor, b.extractor)
        elif name == "settings":
            keys = sorted({*a.settings, *b.settings})
            pairs = [(key, a.settings.get(key), b.settings.get(key)) for key in keys]
            found += [f"settings.{key}: {one} | {other}" for key, one, other in pairs if one != other]
        elif name == "real" and mine != others:
            found.append(f"real: {mine[:12] or 'unknown'} | {others[:12] or 'unknown'}")
        elif mine != others:
            found.append(f"{name}: {mine} | {others}")
    return found


def _unlike_extractors(a: ExtractorIdentity, b: ExtractorIdentity) -> list[str]:
    if a.same(b):
        return []
    for name in ("name", "tap", "dimension", "alpha"):
        if getattr(a, name) != getattr(b, name):
            return [
                f"extractor: {_said(a)} | {_said(b)}" if name != "alpha" else f"extractor.alpha: {a.alpha} | {b.alpha}"
            ]
    return [f"extractor: {a.name} {a.sha256[:12]} | {b.name} {b.sha256[:12]}"]


def _said(extractor: ExtractorIdentity) -> str:
    at = f" at tap {extractor.tap}" if extractor.tap else ""
    return f"{extractor.name}{at} ({extractor.dimension} dimensions)"


def difference(a: ScoreRecord, b: ScoreRecord) -> float:
    """b's value less a's.

    Raises:
        UserError: if they were measured by unlike protocols, naming what differs.
    """
    differing = unlike(a, b)
    if differing:
        raise UserError(f"'{a.name}' and '{b.name}' cannot be compared; they differ in {'; '.join(differing)}")
    return b.value - a.value


def save_scores(folder: Path, records: Sequence[ScoreRecord]) -> None:
    """Write metrics.json and scores.json into `folder`.

    Raises:
        UserError: if two records share a name.
    """
    names = [record.name for record in records]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two metrics report the same name: {', '.join(twice)}")
    files.write_json(folder / "metrics.json", {record.name: record.value for record in records})
    content = {"format_version": FORMAT_VERSION, "scores": [record.to_json() for record in records]}
    files.write_json(folder / "scores.json", content)


def dumps(records: Sequence[ScoreRecord]) -> str:
    """The records as a JSON list: what `zerosum score --json` prints and `parse` reads."""
    return json.dumps([record.to_json() for record in records], indent=2, ensure_ascii=False, allow_nan=False)


def parse(data: object, where: str) -> list[ScoreRecord]:
    """The records of scores.json, or of such a list.

    Raises:
        BrokenArtefact: if it is neither.
    """
    if isinstance(data, dict):
        content = cast(dict[str, Any], data)
        if content.get("format_version") != FORMAT_VERSION:
            raise BrokenArtefact(f"{where} holds no scores of format {FORMAT_VERSION}; run {MADE_BY} again")
        data = content.get("scores")
        if not isinstance(data, list):
            raise BrokenArtefact(f"{where} is cut short; run {MADE_BY} again")
    if not isinstance(data, list):
        raise BrokenArtefact(f"{where} holds no list of score records")
    return [ScoreRecord.from_json(record) for record in cast(list[dict[str, Any]], data)]


def load_scores(folder: Path) -> list[ScoreRecord]:
    """The records of a report.

    Raises:
        BrokenArtefact: if scores.json is missing, torn or of a later format.
    """
    path = folder / "scores.json"
    found = files.read_json(path, MADE_BY)
    if not isinstance(found, dict):
        raise BrokenArtefact(f"{path} holds no scores of format {FORMAT_VERSION}; run {MADE_BY} again")
    return parse(cast(object, found), str(path))


def load_score(folder: Path, name: str) -> ScoreRecord:
    """The record called `name`.

    Raises:
        UserError: if the report holds none, with the names it does hold.
    """
    records = {record.name: record for record in load_scores(folder)}
    if name not in records:
        raise UserError(f"{folder} holds no score '{name}'; it holds {', '.join(sorted(records))}")
    return records[name]
