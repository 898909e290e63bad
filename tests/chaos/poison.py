"""Faults inside one rank, once, at a moment of the training's clock: a NaN, a changed weight, a rank that hangs.

A project copied for chaos holds this file and a `sitecustomize.py` that imports it (`plug_in`), so that a stage's own
workers meet the fault; the code under test knows nothing of it. What is to happen is in $ZEROSUM_CHAOS, as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.contract import AnyFamily, Networks, Objective, State, Turn, World

VARIABLE = "ZEROSUM_CHAOS"
LOOP = "pipeline.training.loop"
KINDS = ("nan", "diverge", "hang")
FOREVER = 10**6  # seconds


def told(folder: Path, kind: str, at: int, victim: int) -> dict[str, str]:
    """The environment of a stage in which rank `victim` meets the fault once `at` examples have been seen."""
    return {VARIABLE: json.dumps({"folder": str(folder), "victim": victim, kind: at})}


def plug_in(project: Path) -> None:
    """Have the processes of a project read $ZEROSUM_CHAOS."""
    shutil.copy2(__file__, project / "poison.py")
    (project / "sitecustomize.py").write_text(
        f'import os\n\nif "{VARIABLE}" in os.environ:\n    import poison\n\n    poison.install()\n'
    )


def install() -> None:
    """Poison the loop as soon as it is imported."""
    sys.meta_path.insert(0, _Finder())


def poisoned(family: AnyFamily, told: Mapping[str, Any], world: World) -> None:
    """Have one rank of the world do, once each, what it is told to."""
    if world.rank != told["victim"] % world.size:
        return
    folder = Path(told["folder"])
    if told.get("nan") is not None:
        _meet_nan(family, told["nan"], folder / "nan.done")
    if told.get("diverge") is not None:
        _after_step(family, told["diverge"], folder / "diverge.done", _change_weight)
    if told.get("hang") is not None:
        _after_step(family, told["hang"], folder / "hang.done", lambda networks: time.sleep(FOREVER))


def _meet_nan(family: AnyFamily, at: int, marker: Path) -> None:
    def wrapped(objective: Objective) -> Objective:
        def play(turn: Turn) -> dict[str, Tensor]:
            parts = objective(turn)
            if turn.state.examples_seen >= at and not marker.exists():
                marker.touch()
                return {**parts, "total": parts["total"] * math.nan}
            return parts

        return play

    changed = tuple(
        replace(each, phases=tuple(replace(phase, objective=wrapped(phase.objective)) for phase in each.phases))
        for each in family.segments()
    )
    family.segments = lambda: changed  # the run's own family object


def _after_step(family: AnyFamily, at: int, marker: Path, act: Callable[[Networks], None]) -> None:
    after = family.after_step

    def then(networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        after(networks, state, observed)
        if state.examples_seen >= at and not marker.exists():
            marker.touch()
            act(networks)

    family.after_step = then


def _change_weight(networks: Networks) -> None:
    import torch

    with torch.no_grad():
        next(networks["generator"].parameters()).add_(1e-3)


class _Finder(MetaPathFinder):
    """Finds the loop as Python would, and wraps its `fit`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != LOOP:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            fit = module.fit

            def poisoned_fit(run: Any) -> Any:
                poisoned(run.family, json.loads(os.environ[VARIABLE]), run.world)
                return fit(run)

            module.fit = poisoned_fit

        loader.exec_module = exec_module
        return spec
