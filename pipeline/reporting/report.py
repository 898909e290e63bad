"""The page a person reads, and the tables DVC plots: the same bytes for the same results.

Nothing here asks for the time, the host or a path, and the page loads nothing from anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.formats.report import ScoreRecord, save_scores
from pipeline.metrics.frechet import holdout_name
from pipeline.reporting.charts import Row, charts
from pipeline.reporting.gallery import Gallery
from pipeline.reporting.table_view import TableView
from pipeline.storage import files, tables

DIFFERENCES = ("pair_l1",)
"""Scores of pairs of which the smaller is the better."""

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class ReportInputs:
    """All that a report shows; what is empty is left out.

    floor: (n, mean, deviation) of what n draws of train score, n being that of the readings in `curves`.
    grids: (examples seen, PNG bytes) in order. confusion: (asked for, recognised as) of each
    sample. pairs: score's name → its value of each held-out pair. curves: the loop's ticks. trials: the search's rows.
    provenance: hashes and versions. table: of rows. text_encoder: what the reference says of one that it trained.
    """

    title: str
    records: Sequence[ScoreRecord]
    gallery: Gallery | None = None
    grids: Sequence[tuple[str, bytes]] = ()
    curves: Sequence[Row] = ()
    trials: Sequence[Mapping[str, Any]] = ()
    settings: str = ""
    provenance: Mapping[str, str] = field(default_factory=lambda: {})
    confusion: Sequence[tuple[str, str]] = ()
    accuracy: float | None = None
    text_encoder: str = ""
    floor: tuple[int, float, float] | None = None
    pairs: Mapping[str, Sequence[float]] = field(default_factory=lambda: {})
    table: TableView | None = None


@dataclass(frozen=True)
class Headline:
    """One number in large type and what it means in a sentence; `good` is None where nothing is judged."""

    label: str
    value: str
    verdict: str
    good: bool | None = None


def write_report(folder: Path, inputs: ReportInputs) -> None:
    """Write the whole report artefact, replacing what was in `folder`."""
    with files.replacing_folder(folder) as temporary:
        save_scores(temporary, inputs.records)
        _save_plots(temporary / "plots", inputs)
        files.write_bytes(temporary / "report.html", render(inputs).encode())


def render(inputs: ReportInputs) -> str:
    """The page as HTML."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(picture=picture, sound=sound, number=number)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        inputs=inputs,
        headlines=headlines(inputs.records),
        charts=charts(inputs.curves),
        columns=list(dict.fromkeys(key for trial in inputs.trials for key in trial)),
        classes=agreements(inputs.confusion),
    )


def headlines(records: Sequence[ScoreRecord]) -> list[Headline]:
    """The few numbers to read first, in plain language."""
    by_name = {record.name: record for record in records}
    found: list[Headline] = []
    distance = next((record for record in records if record.name.endswith("_at_holdout_n")), None)
    if distance is not None:
        holdout = by_name.get(holdout_name(distance.name.removesuffix("_at_holdout_n")))
        found += [_distance(distance, holdout)] if holdout is not None else []
    sentences = {
        "precision": "the share of samples that lie where real examples do",
        "recall": "the share of real examples that lie where samples do",
        "label_agreement": "the share of samples recognised as the class that was asked for",
    }
    for name, sentence in sentences.items():
        if name in by_name:
            found.append(Headline(name.replace("_", " "), _with_spread(by_name[name]), sentence))
    for record in records:
        given = by_name.get(f"{record.name}_of_input")
        if given is not None:
            unit = " dB" if record.name.startswith("psnr") else ""
            verdict = f"between samples and their truths; between inputs and truths {number(given.value)}{unit}"
            label = record.name.replace("_", " ").upper()
            higher = record.value > given.value
            good = record.value < given.value if record.name.startswith(DIFFERENCES) else higher
            found.append(Headline(label, f"{number(record.value)}{unit}", verdict, good))
    if "memorisation" in by_name:
        found.append(_memorisation(by_name["memorisation"], by_name.get("nearest_train_ratio")))
    return found


def _distance(samples: ScoreRecord, holdout: ScoreRecord) -> Headline:
    times = samples.value / holdout.value if holdout.value > 0 else float("inf")
    control = f"the same number of held-out real examples: {number(holdout.value)}"
    if times < 1:
        return Headline("Fréchet distance", _with_spread(samples), f"nearer to the training data than {control}", True)
    return Headline(
        "Fréchet distance", _with_spread(samples), f"{times:.3g} times as far from train as {control}", False
    )


def _memorisation(record: ScoreRecord, ratio: ScoreRecord | None) -> Headline:
    verdict = f"the share of samples nearer to a training example than is typical of held-out ones ({record.note})"
    copies = ratio is not None and ratio.value < 0.5
    if copies:
        verdict += "; they are far nearer than unseen real examples are: suspect copying"
    return Headline("memorisation", _with_spread(record), verdict, False if copies else None)


def agreements(confusion: Sequence[tuple[str, str]]) -> list[tuple[str, float, str]]:
    """(class, fraction recognised, what it is most taken for otherwise or "") in order of the classes' names."""
    found: list[tuple[str, float, str]] = []
    for name in sorted({asked for asked, _ in confusion}):
        got = [recognised for asked, recognised in confusion if asked == name]
        wrong = sorted(other for other in got if other != name)
        found.append((name, 1 - len(wrong) / len(got), max(wrong, key=wrong.count) if wrong else ""))
    return found


def picture(png: bytes) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def sound(wav: bytes) -> str:
    """A wav as a data URI."""
    return f"data:audio/wav;base64,{base64.b64encode(wav).decode()}"


def number(value: object) -> str:
    """Four significant digits for floats; other values as they are; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _with_spread(record: ScoreRecord) -> str:
    return number(record.value) if not record.spread else f"{number(record.value)} ± {record.spread:.2g}"


def _save_plots(folder: Path, inputs: ReportInputs) -> None:
    scores = [(record.name, record.value, "" if record.spread is None else record.spread) for record in inputs.records]
    tables.write(folder / "scores.csv", ("name", "value", "spread"), scores)
    if inputs.confusion:
        tables.write(folder / "confusion.csv", ("actual", "predicted"), inputs.confusion)
    if inputs.pairs:
        numbered = enumerate(zip(*inputs.pairs.values(), strict=True))
        tables.write(folder / "pairs.csv", ("number", *inputs.pairs), [(row, *values) for row, values in numbered])
    if inputs.gallery is not None:
        for name in ("samples", "interpolation", "truncation", "nearest"):
            if picture_bytes := getattr(inputs.gallery, name):
                files.write_bytes(folder / f"{name}.png", picture_bytes)
