"""A search that repeats: suggestions and stops learn of results only when a batch of trials ends.

Trials of a batch run side by side and finish in any order. Were the model of the search, or the
rungs of successive halving, told as results arrive, the search would depend on which process was
faster. Both are told at the end of a batch, in trial order, so that equal seeds give equal
searches on any machine and at any number of CPUs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

DRAWS = 100  # until a space counts as tried out


class BatchedSearcher(Searcher):
    """Asks `inner` for whole batches of suggestions and tells it whole batches of results.

    `inner` is any Tune searcher whose suggestions depend only on what it was told. What it has
    suggested before is asked for again, as a trial that repeats tells nothing new; a space with
    nothing else to try ends the search.
    """

    def __init__(self, inner: Searcher, batch: int, trials: int) -> None:
        super().__init__(metric=inner.metric, mode=inner.mode)
        self._inner = inner
        self._batch = batch
        self._left = trials
        self._suggested: deque[tuple[str, dict[str, Any]]] = deque()
        self._running: dict[str, str] = {}
        self._results: dict[str, tuple[dict[str, Any] | None, bool]] = {}
        self._number = 0
        self.configs: list[dict[str, Any]] = []

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride]  # the base leaves out its own FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """The next of the batch; None until every trial of the batch before has ended."""
        if not self._suggested:
            if self._running:
                return None
            if not self._left:
                return Searcher.FINISHED
            self._draw()
            if not self._suggested:
                return Searcher.FINISHED
        name, config = self._suggested.popleft()
        self._running[trial_id] = name
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Readings on the way tell the searcher nothing: their order is chance."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        name = self._running.pop(trial_id, None)
        if name is None:
            return
        self._results[name] = (result, error)
        if not self._running and not self._suggested:
            for told in sorted(self._results):
                final, failed = self._results[told]
                self._inner.on_trial_complete(told, final, failed)
            self._results = {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a killed search is replayed from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    @property
    def left(self) -> int:
        """Trials that have not been suggested yet."""
        return self._left

    def _draw(self) -> None:
        for _ in range(min(self._batch, self._left)):
            drawn = next((drawn for drawn in map(self._ask, range(DRAWS)) if drawn), None)
            if drawn is None:
                self._left = 0
                return
            self._suggested.append(drawn)
            self.configs.append(drawn[1])
            self._left -= 1

    def _ask(self, attempt: int) -> tuple[str, dict[str, Any]] | None:
        """A name and a new configuration, or None where it was suggested before."""
        name = f"{self._number:05d}"
        self._number += 1
        config = self._inner.suggest(name)
        if not isinstance(config, dict):
            raise RuntimeError(f"the searcher gave no suggestion but {config!r}")
        if config not in self.configs:
            return name, config
        self._inner.on_trial_complete(name, error=True)
        return None


class BatchedHalving(FIFOScheduler):
    """Successive halving (Jamieson & Talwalkar 2016) against the trials of earlier batches.

    At each rung (first, first·reduction, …) a trial stops unless it is among the best 1/reduction
    of the earlier batches' trials that reached the rung. The first batch is never stopped.
    """

    def __init__(self, clock: str, metric: str, batch: int, rungs: Sequence[int], reduction: float) -> None:
        super().__init__()
        self._clock = clock
        self._score = metric
        self._batch = batch
        self._rungs = sorted(rungs)
        self._keep = 100 / reduction
        self._known: dict[int, list[float]] = {rung: [] for rung in self._rungs}
        self._fresh: dict[int, list[float]] = {rung: [] for rung in self._rungs}
        self._passed: dict[str, int] = {}
        self._ended = 0

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._passed[trial.trial_id] = 0

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        passed = self._passed[trial.trial_id]
        while passed < len(self._rungs) and result[self._clock] >= self._rungs[passed]:
            rung = self._rungs[passed]
            value = float(result[self._score])
            self._fresh[rung].append(value)
            passed += 1
            known = self._known[rung]
            if known and value > float(np.percentile(known, self._keep)):
                self._passed[trial.trial_id] = len(self._rungs)
                return TrialScheduler.STOP
        self._passed[trial.trial_id] = passed
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._end()

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._end()

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._end()

    def _end(self) -> None:
        self._ended += 1
        # A batch is counted by its size, not by what was added so far: its trials may be added late.
        if self._ended % self._batch == 0:
            for rung, values in self._fresh.items():
                # Sorted: a percentile of equal values must not depend on who came first.
                self._known[rung] = sorted([*self._known[rung], *values])
                values.clear()
