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


class BatchedHalving(FIFOScheduler):
    """Successive halving (Jamieson & Talwalkar 2016) against the trials of earlier batches.

    At each rung (first, first·reduction, …) a trial stops unless it is among the best 1/reduction
    of the earlier batches' trials that reached the rung. The first batch is never stopped.
    """

    def __init__(self, clock: str, metric: str, rungs: Sequence[int], reduction: float) -> None:
        super().__init__()
        self._clock = clock
        self._score = metric
        self._rungs = sorted(rungs)
        self._keep = 100 / reduction
        self._known: dict[int, list[float]] = {rung: [] for rung in self._rungs}
        self._fresh: dict[int, list[float]] = {rung: [] for rung in self._rungs}
        self._passed: dict[str, int] = {}

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

    def learn(self) -> None:
        """A batch has ended: its trials are what later ones are measured by."""
        for rung, values in self._fresh.items():
            # Sorted: a percentile of equal values must not depend on who came first.
            self._known[rung] = sorted([*self._known[rung], *values])
            values.clear()


class BatchedSearcher(Searcher):
    """Asks `inner` for whole batches of suggestions and tells it, and `halving`, whole batches of results.

    `inner` is any Tune searcher whose suggestions depend only on what it was told. A suggestion
    that was made before (a space of a few choices soon repeats) counts as a trial and is not run:
    its result is known.
    """

    def __init__(self, inner: Searcher, halving: BatchedHalving, batch: int, trials: int) -> None:
        super().__init__(metric=inner.metric, mode=inner.mode)
        self._inner = inner
        self._halving = halving
        self._batch = batch
        self._trials = trials
        self._waiting: deque[int] = deque()
        self._running: dict[str, int] = {}
        self._asked: list[int] = []  # by suggestion, which configuration it was
        self._told = 0  # how many suggestions `inner` knows the results of
        self._results: list[tuple[dict[str, Any] | None, bool]] = []
        self.configs: list[dict[str, Any]] = []

    @property
    def left(self) -> int:
        """Trials that have not been suggested yet."""
        return self._trials - len(self._asked)

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride]  # the base leaves out its own FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """The next of the batch; None until every trial of the batch before has ended."""
        while not self._waiting:
            if self._running:
                return None
            self._tell()
            if not self.left:
                return Searcher.FINISHED
            self._draw()
        config = self._waiting.popleft()
        self._running[trial_id] = config
        return self.configs[config]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Readings on the way tell the searcher nothing: their order is chance."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Kept until the batch ends."""
        config = self._running.pop(trial_id, None)
        if config is not None:
            self._results[config] = (result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a killed search is replayed from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save`."""

    def _draw(self) -> None:
        for _ in range(min(self._batch, self.left)):
            config = self._inner.suggest(f"{len(self._asked):05d}")
            if not isinstance(config, dict):
                raise RuntimeError(f"the searcher gave no suggestion but {config!r}")
            if config not in self.configs:
                self._waiting.append(len(self.configs))
                self.configs.append(config)
                self._results.append((None, True))
            self._asked.append(self.configs.index(config))

    def _tell(self) -> None:
        """The batch's results, in the order of its suggestions."""
        self._halving.learn()
        for number in range(self._told, len(self._asked)):
            result, failed = self._results[self._asked[number]]
            self._inner.on_trial_complete(f"{number:05d}", result, failed)
        self._told = len(self._asked)
