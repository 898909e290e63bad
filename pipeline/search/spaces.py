"""`tune.space` as Optuna sees it: define-by-run, with branches for the chosen family's own keys."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.search.settings import Range


def active(space: Mapping[str, Range], family: str) -> dict[str, Range]:
    """What is searched when `family` is trained: another family's keys play no part."""
    return {
        dotted: searched
        for dotted, searched in space.items()
        if not dotted.startswith("families.") or dotted.split(".")[1] == family
    }


def define(space: Mapping[str, Range], family: str) -> Callable[[Any], dict[str, Any] | None]:
    """A function of an Optuna trial that suggests every active setting; the family comes first.

    The rest follow by name: a sampler's draws go by the order of its questions, and that in which params.yaml has them
    is no part of what DVC compares.
    """

    def suggest(trial: Any) -> None:
        chosen = family
        if "train.family" in space:
            chosen = _suggest(trial, "train.family", space["train.family"])
        for dotted, searched in sorted(active(space, chosen).items()):
            if dotted != "train.family":
                _suggest(trial, dotted, searched)

    return suggest


def _suggest(trial: Any, dotted: str, searched: Range) -> Any:
    if searched.choice is not None:
        with warnings.catch_warnings():
            # Optuna could not keep a list (of widths, say) in a database; ours is in memory.
            warnings.filterwarnings("ignore", "Choices for a categorical distribution")
            return trial.suggest_categorical(dotted, searched.choice)
    if searched.randint is not None:
        return trial.suggest_int(dotted, *searched.randint)
    if searched.loguniform is not None:
        return trial.suggest_float(dotted, *searched.loguniform, log=True)
    assert searched.uniform is not None
    return trial.suggest_float(dotted, *searched.uniform)
