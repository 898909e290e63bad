"""The search for settings: Ray Tune over short trainings, repeatable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.api.data import Data
from pipeline.api.trainings import checked, paths, reference_of, scratch_of
from pipeline.formats.search import Best

Range = Mapping[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """best: the settings with the least score, as dotted keys in `best.overrides`. trials: a row for each trial.

    readings: a row for each score that a trial had on the way.
    """

    best: Best
    trials: list[dict[str, Any]]
    readings: list[dict[str, Any]]


def uniform(low: float, high: float) -> Range:
    """Any number from low to high."""
    return {"uniform": [low, high]}


def loguniform(low: float, high: float) -> Range:
    """Any number from low to high, its logarithm drawn evenly; both above 0."""
    return {"loguniform": [low, high]}


def randint(low: int, high: int) -> Range:
    """Any whole number from low to high, both included."""
    return {"randint": [low, high]}


def choice(values: Sequence[Any]) -> Range:
    """One of the values."""
    return {"choice": list(values)}


def search(
    family: str,
    data: Data,
    space: Mapping[str, Range],
    *,
    trials: int = 8,
    examples: int,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    tune: Mapping[str, Any] | None = None,
    extractor: str | Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search for the settings of a family with the least score; what was interrupted goes on when called again.

    Args:
        family: a file of pipeline/families.
        data: what `ingest` or `open_data` gave.
        space: ranges by key: of the family, such as `{"generator.lr": loguniform(5e-4, 2e-3)}`, or of the section
            `train`, as `"train.batch_size"`.
        trials: how many settings are tried.
        examples: length of a trial.
        preset: a name of the family's own, for its published or small settings.
        settings: keys of the family, over those of the preset.
        train: keys of the section `train`.
        tune: further keys of the section `tune`, such as `{"batch": 4, "first_rung": 5000, "mode": "population"}`.
        extractor: what trials are scored with, as in `train`.
        run: keys of the section `run`, as in `train`; Ray is used even with one worker.
        folder: where it works; by default `.work/runs/…`.
        progress: print a line for each reading.

    Returns:
        What `train(…, found=…)` takes.

    Raises:
        SettingsError: for an unknown or impossible setting or range.
        TrainingFailed: if no trial comes to a usable score.
    """
    from pipeline.cluster.connect.session import session
    from pipeline.cluster.search import driver as tuning
    from pipeline.cluster.search import tune_setup

    dotted = {
        key if key.startswith("train.") else f"families.{family}.{key}": dict(each) for key, each in space.items()
    }
    chosen: dict[str, Any] = {"trials": trials, "examples": examples, "space": dotted}
    chosen |= {"first_rung": examples, "interval": examples, "batch": min(trials, os.cpu_count() or 1)}
    sections = {"train": dict(train or {}), "tune": {**chosen, **(tune or {})}}
    params = checked(family, data, preset, settings, extractor, run, sections)
    places = paths(data, reference_of(data, params))
    computed = {name: params.raw.get(name) for name in ("tune", "train", "families")}
    scratch = scratch_of("tune", params, computed, places, folder)
    count = tune_setup.side_by_side(params, os.cpu_count() or 1)
    with session(params.run, count * tune_setup.cpus_of_a_trial(params)):
        found = tuning.search(params, places, scratch, print if progress else _silent)
    return SearchResult(found.best, found.rows, found.readings)


def _silent(line: str) -> None:
    pass
