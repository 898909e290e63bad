"""Rows of a table for the report: the first rows of either side, marginals of each column, and what goes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.extractor import Examples
from pipeline.data import columns
from pipeline.metrics._shared import Floats
from pipeline.metrics._tables import BINS, Values, binned, correlation, decoded, edges_of, shares
from pipeline.reporting.charts import Chart, compact
from pipeline.sampling.samples import SampleSource

ROWS, SHOWN, COLUMNS, BARS = 2_000, 8, 30, 12
WIDTH, HEIGHT, BOTTOM, CELL, MARGIN = 320, 120, 26, 18, 120
SIDES = [("real", 0), ("generated", 1)]


@dataclass(frozen=True)
class TableView:
    """What the report shows of a table; SVG texts. left_out: columns beyond those that are drawn."""

    names: list[str]
    real: list[list[str]]
    generated: list[list[str]]
    marginals: list[Chart]
    together: list[Chart]
    left_out: int


def build(generator: SampleSource, train: Examples, seed: int, truncation: float) -> TableView | None:
    """The view of a model of rows, from its samples of this seed; None for any other."""
    spec = generator.spec
    if not spec.columns:
        return None
    count = min(ROWS, len(train))
    found = train.examples(np.arange(count, dtype=np.int64))
    labels = generator.default_labels(count) if generator.conditional else None
    if labels is not None:
        labels = np.asarray(found["label"], dtype=np.int64)  # as often as in the data
    made = generator.sample(count, labels, seed, truncation)
    names = columns.header(spec, labels is not None)
    real, fake = (_values(x, generator, labels) for x in (found["x"], made))
    first, second = (
        [[str(cell) for cell in row] for row in columns.written(columns.table(x, spec, given), names, spec.columns)]
        for x, given in ((found["x"][:SHOWN], _first(labels)), (made[:SHOWN], _first(labels)))
    )
    drawn = list(zip(real, fake, strict=True))[:COLUMNS]
    categories = {column.name: column.categories for column in spec.columns}
    categories["class"] = spec.classes
    return TableView(
        names,
        first,
        second,
        [marginal(one, other, categories[one.name]) for one, other in drawn],
        [_heat(side, title) for side, title in ((real, "real"), (fake, "generated"))],
        max(0, len(real) - COLUMNS),
    )


def _first(labels: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    return None if labels is None else labels[:SHOWN]


def _values(x: NDArray[np.generic], generator: SampleSource, labels: NDArray[np.int64] | None) -> list[Values]:
    found = decoded(x.astype(np.float64), generator.spec.columns)
    return found if labels is None else [*found, Values("class", labels, len(generator.spec.classes))]


def marginal(real: Values, fake: Values, categories: Sequence[str]) -> Chart:
    """Bars side by side: of categories the most frequent, of numbers ten bins over the real values."""
    edges = edges_of(real.values.astype(np.float64)) if real.numeric else np.zeros(1)
    heights = [shares(*binned(side, edges)) for side in (real, fake)]
    if real.numeric:
        known = real.values[~np.isnan(real.values)]
        ends = np.linspace(known.min(), known.max(), BINS + 1) if len(known) else np.zeros(BINS + 1)
        names = [*(compact(float(f"{end:.3g}")) for end in ends[:-1])]
        heights = [side[1 : BINS + 2] for side in heights]
        names, heights = _without_empty([*names, "none"], heights)
    else:
        order = np.argsort(-heights[0], kind="stable")[:BARS]
        names = [str(categories[int(place)]) or "none" for place in order]
        heights = [side[order] for side in heights]
    return Chart(real.name, _bars(real.name, names, heights), SIDES)


def _without_empty(names: list[str], heights: list[Floats]) -> tuple[list[str], list[Floats]]:
    """Without the bar of missing values where there are none."""
    return (names, heights) if any(side[-1] for side in heights) else (names[:-1], [side[:-1] for side in heights])


def _bars(title: str, names: Sequence[str], heights: Sequence[Floats]) -> str:
    top = max(1e-9, *(float(side.max()) for side in heights))
    step = WIDTH / max(1, len(names))
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for place, name in enumerate(names):
        for number, side in enumerate(heights):
            height = (HEIGHT - BOTTOM) * float(side[place]) / top
            x, y = place * step + (0.1 + 0.4 * number) * step, HEIGHT - BOTTOM - height
            parts.append(
                f'<rect class="bar c{number}" x="{x:.1f}" y="{y:.1f}" width="{0.4 * step:.1f}" height="{height:.1f}">'
                f"<title>{escape(name)}: {side[place]:.3f}</title></rect>"
            )
        shown = name if len(name) <= 9 else f"{name[:8]}…"
        x, y = (place + 0.5) * step, HEIGHT - BOTTOM + 12 + 11 * (place % 2)
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escape(shown)}</text>')
    return "".join([*parts, "</svg>"])


def association(one: Values, other: Values) -> float:
    """Pearson's correlation of two columns of numbers; else Cramér's V, numbers in ten bins; 0 of a constant one."""
    if one.numeric and other.numeric:
        found = correlation(one.values.astype(np.float64), other.values.astype(np.float64))
        return 0.0 if np.isnan(found) else found
    codes = [
        binned(each, edges_of(each.values.astype(np.float64)) if each.numeric else np.zeros(1)) for each in (one, other)
    ]
    table = np.zeros((codes[0][1], codes[1][1]))
    np.add.at(table, (codes[0][0], codes[1][0]), 1)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    if min(table.shape) < 2:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(np.sqrt((((table - expected) ** 2) / expected).sum() / table.sum() / (min(table.shape) - 1)))


def _heat(side: Sequence[Values], title: str) -> Chart:
    shown = side[:COLUMNS]
    size = MARGIN + CELL * len(shown)
    parts = [f'<svg viewBox="0 0 {size} {size - MARGIN + 4}" role="img" aria-label="associations, {title}">']
    for row, one in enumerate(shown):
        name = one.name if len(one.name) <= 18 else f"{one.name[:17]}…"
        parts.append(f'<text x="{MARGIN - 6}" y="{row * CELL + 13}" text-anchor="end">{escape(name)}</text>')
        for place, other in enumerate(shown):
            value = 1.0 if row == place else association(one, other)
            parts.append(
                f'<rect class="bar c{0 if value >= 0 else 1}" x="{MARGIN + place * CELL}" y="{row * CELL}" '
                f'width="{CELL - 1}" height="{CELL - 1}" opacity="{min(1.0, abs(value)):.3f}">'
                f"<title>{escape(one.name)}, {escape(other.name)}: {value:.2f}</title></rect>"
            )
    return Chart(title, "".join([*parts, "</svg>"]), [])
