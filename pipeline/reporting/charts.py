"""Line charts as inline SVG: no library, no script, colours from the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 30
COLOURS = 6

Point = tuple[float, float]
Row = Mapping[str, float | int | str | None]

# What a run's speed or clock would bring in: a report of equal results must have equal bytes.
TIMES = ("second", "eta", "time", "rate", "elapsed", "wall")


@dataclass(frozen=True)
class Chart:
    """A titled SVG and its legend: (name of the series, number of its colour)."""

    title: str
    svg: str
    legend: list[tuple[str, int]]


def charts(rows: Sequence[Row]) -> list[Chart]:
    """One chart for each group of numeric columns over the examples seen; times and rates are left out."""
    clock = next((key for key in ("examples_seen", "examples") if any(key in row for row in rows)), None)
    if clock is None:
        return []
    groups: dict[str, dict[str, list[Point]]] = {}
    for row in rows:
        x = row.get(clock)
        for key, y in row.items():
            if not isinstance(x, int | float) or not _plotted(key, y, clock):
                continue
            groups.setdefault(group(key), {}).setdefault(key, []).append((float(x), float(y or 0)))
    order = sorted(groups, key=lambda title: (not title.startswith("Fréchet"), title != "losses", title))
    drawn = [(title, {key: line for key, line in groups[title].items() if len(line) > 1}) for title in order]
    return [chart(title, series) for title, series in drawn if series]


def group(key: str) -> str:
    """The chart a column belongs to."""
    if "frechet" in key:
        return "Fréchet distance (averaged weights, few samples)"
    if "loss" in key or key.endswith("/total"):
        return "losses"
    if "grad" in key:
        return "gradient norms"
    if key in {"recall", "feature_spread"}:
        return "recall and feature spread"
    if "real" in key or "fake" in key:
        return "the discriminator's answers"
    return key.split("/")[0].replace("_", " ")


def chart(title: str, series: Mapping[str, Sequence[Point]]) -> Chart:
    """Lines over a linear x; y is logarithmic where positive values span more than two decades."""
    points = [point for line in series.values() for point in line]
    ys = [y for _, y in points]
    logarithmic = min(ys) > 0 and max(ys) / min(ys) > 100
    low, high = (math.log10(min(ys)), math.log10(max(ys))) if logarithmic else (min(ys), max(ys))
    marks = _decades(low, high) if logarithmic else ticks(low, high)
    low, high = min(low, marks[0]), max(high, marks[-1])
    first, last = min(x for x, _ in points), max(x for x, _ in points)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / ((last - first) or 1)
        up = ((math.log10(y) if logarithmic else y) - low) / ((high - low) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for mark in marks:
        value = 10**mark if logarithmic else mark
        y = place(first, value)[1]
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for mark in ticks(first, last):
        if first <= mark <= last:
            x = place(mark, 10**low if logarithmic else low)[0]
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{compact(mark)}</text>')
    for index, line in enumerate(series.values()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline class="line c{index % COLOURS}" points="{path}"/>')
    parts.append("</svg>")
    return Chart(title, "".join(parts), [(key, index % COLOURS) for index, key in enumerate(series)])


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from at most `low` to at least `high`."""
    span = (high - low) or abs(high) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= raw * 0.999)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(start, max(stop, start + 1) + 1)]


def compact(value: float) -> str:
    """1500 → 1.5k, 2000000 → 2M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _decades(low: float, high: float) -> list[float]:
    return [float(power) for power in range(math.floor(low), math.ceil(high) + 1)]


def _plotted(key: str, value: object, clock: str) -> bool:
    if key in {clock, "step", "attempt", "segment", "nonfinite", "score_samples"} or any(word in key for word in TIMES):
        return False
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
