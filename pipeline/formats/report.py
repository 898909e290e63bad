"""Scores as records, and the report artefact: what was measured, in a form that can be held against another.

report/metrics.json    flat numbers, for `dvc metrics`
report/scores.json     the records: each value with the protocol it was measured by
report/plots/          tables and pictures, for `dvc plots`
report/report.html     the page a person reads
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from pipeline.formats import files
from pipeline.settings import UserError

FORMAT_VERSION = 1
MADE_BY = "the evaluate stage"


@dataclass(frozen=True)
class ExtractorIdentity:
    """Which features: two extractors are the same if their sha256 is."""

    name: str
    sha256: str
    dimension: int


@dataclass(frozen=True)
class ScoreRecord:
    """One value and the whole protocol behind it.

    value: the mean over `repeats` seeds (`seed`, `seed + 1`, …); spread: their standard deviation
    (n − 1), None for a single one. n_real, n_fake: numbers on either side of one repeat. split: the
    reals compared with; None where reals play no part. ema: averaged weights or the raw ones.
    """

    name: str
    value: float
    spread: float | None
    n_real: int
    n_fake: int
    split: Literal["train", "holdout"] | None
    extractor: ExtractorIdentity
    resize: str
    seed: int
    repeats: int
    ema: bool
    truncation: float
    version: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ScoreRecord:
        """A record of scores.json.

        Raises:
            BrokenArtefact: if a field is missing or unknown.
        """
        try:
            whole = dict(data)
            whole["extractor"] = ExtractorIdentity(**data["extractor"])
            return cls(**whole)
        except (KeyError, TypeError) as error:
            raise files.BrokenArtefact(f"this is no whole score record ({error}): {data}") from None


# What may differ between two runs that are compared; everything else is protocol.
OUTCOME = frozenset({"value", "spread", "note", "version"})


def unlike(a: ScoreRecord, b: ScoreRecord) -> list[str]:
    """Where two records' protocols differ, as `field: a | b`; empty = they may be compared."""
    names = [field.name for field in fields(ScoreRecord) if field.name not in OUTCOME]
    return [
        f"{name}: {getattr(a, name)} | {getattr(b, name)}" for name in names if getattr(a, name) != getattr(b, name)
    ]


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


def load_scores(folder: Path) -> list[ScoreRecord]:
    """The records of a report.

    Raises:
        BrokenArtefact: if scores.json is missing, torn or of a later format.
    """
    found = files.read_json(folder / "scores.json", MADE_BY)
    if not isinstance(found, dict) or cast(dict[str, Any], found).get("format_version") != FORMAT_VERSION:
        raise files.BrokenArtefact(
            f"{folder / 'scores.json'} holds no scores of format {FORMAT_VERSION}; run {MADE_BY} again"
        )
    records = cast(dict[str, Any], found).get("scores")
    if not isinstance(records, list):
        raise files.BrokenArtefact(f"{folder / 'scores.json'} is cut short; run {MADE_BY} again")
    return [ScoreRecord.from_json(record) for record in cast(list[dict[str, Any]], records)]


def load_score(folder: Path, name: str) -> ScoreRecord:
    """The record called `name`.

    Raises:
        UserError: if the report holds none, with the names it does hold.
    """
    records = {record.name: record for record in load_scores(folder)}
    if name not in records:
        raise UserError(f"{folder} holds no score '{name}'; it holds {', '.join(sorted(records))}")
    return records[name]
