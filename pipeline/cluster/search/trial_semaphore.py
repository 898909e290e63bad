"""So many at once and no more, over all nodes: for trials whose workers would wait for each other's CPUs."""

from __future__ import annotations

import asyncio
from typing import Any


class TrialSemaphore:
    """Handed to trials. A trial that dies never releases its slot; that attempt of the search is then aborted."""

    def __init__(self, places: int) -> None:
        import ray

        class Places:
            """An asyncio semaphore in a process of its own."""

            def __init__(self) -> None:
                self._free = asyncio.Semaphore(places)

            async def enter(self) -> None:
                await self._free.acquire()

            async def leave(self) -> None:
                self._free.release()

        remote: Any = ray.remote(Places)
        self._actor: Any = remote.options(num_cpus=0, max_concurrency=1000).remote()

    def enter(self) -> None:
        """Wait for a place."""
        import ray

        ray.get(self._actor.enter.remote())

    def leave(self) -> None:
        """Give the place back."""
        import ray

        ray.get(self._actor.leave.remote())
