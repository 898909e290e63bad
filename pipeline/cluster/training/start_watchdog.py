"""Ray Train has no timeout while the workers of a group start. This watchdog removes groups that do not start in time.

A worker that is stopped, not killed, before all of them are at work answers nobody, and nobody asks how it is. The
driver sees which groups have their machines and whose workers have not all begun; one that takes too long is taken
apart, which kills its workers, and Ray Train builds another.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.cluster.connect.session import gone
from pipeline.contract import Reporter
from pipeline.run.addresses import resolve
from pipeline.run.settings import RunSettings

LOOKS = 8  # at the groups of a cluster that are built, while one may take as long as it may
LEAST = 60.0  # seconds for processes to start and to import, however short the limit for their answers
Table = Mapping[str, Mapping[str, Any]]


class StartWatchdog:
    """Which groups have waited too long for their workers."""

    def __init__(self, patience: float, now: Callable[[], float] = time.monotonic) -> None:
        self._begun: Counter[str] = Counter()
        self.patience = patience
        self._now = now
        self._since: dict[str, float] = {}
        self._at_work: set[str] = set()

    def has_begun(self, group: str) -> None:
        """One more worker of the placement group of this id is at work."""
        self._begun[group] += 1

    def has_ticked(self) -> None:
        """All the workers of the group are at work, even if what they said was lost with the channel's process."""
        self._at_work |= self._since.keys()

    def overdue(self, table: Table, job: str) -> list[str]:
        """Ids of this job's placement groups that are to be taken apart; each is named once a `patience`."""
        found: list[str] = []
        for name, group in table.items():
            waiting = group["state"] == "CREATED" and self._begun[name] < len(group["bundles"])
            waiting &= name not in self._at_work and _of_workers(group)
            # The last four bytes of its id are the job's that made it.
            if not waiting or not name.endswith(job):
                self._since.pop(name, None)
            elif self._now() - self._since.setdefault(name, self._now()) > self.patience:
                del self._since[name]
                found.append(name)
        return found


def _of_workers(group: Mapping[str, Any]) -> bool:
    """Whether the group is a training's: the place of a trial that trains by others is one without a CPU."""
    return all("CPU" in bundle for bundle in group["bundles"].values())


def watch(building: StartWatchdog, reporter: Reporter, run: RunSettings) -> WatchedStarts:
    """A `Watch` that suits the Ray of `run`."""
    address = resolve(run.address)
    if address.kind == "private":
        return WatchedStarts(building, reporter)
    # A cluster's head may die, and a question to a dead one would hold the driver that has to say so.
    return WatchedStarts(building, reporter, building.patience / LOOKS, lambda: not gone(address.value))


def patience(run: RunSettings) -> float:
    """Seconds for the workers of a group to begin."""
    return max(LEAST, run.collective_timeout)


class WatchedStarts:
    """While the block runs in a driver, its overdue groups are taken apart.

    Nothing in a trial, to which all groups of its search look alike: the search's own driver watches them.
    """

    def __init__(
        self, building: StartWatchdog, reporter: Reporter, every: float = 1.0, there: Callable[[], bool] = lambda: True
    ) -> None:
        """every: seconds between two looks; there: whether the cluster's head answers, asked before each."""
        self._building = building
        self._reporter = reporter
        self._every = every
        self._there = there
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> WatchedStarts:
        import ray

        context = ray.get_runtime_context()
        self._job = context.get_job_id()
        if context.get_actor_id() is None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        from ray import PlacementGroupID
        from ray.exceptions import RayError
        from ray.util import placement_group_table, remove_placement_group
        from ray.util.placement_group import PlacementGroup

        while not self._done.wait(self._every):
            if not self._there():
                continue
            try:
                for name in self._building.overdue(placement_group_table(), self._job):
                    self._reporter.note("a worker does not start; all of them are started again")
                    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
            except RayError:  # the cluster's head is gone, which others say better
                return
