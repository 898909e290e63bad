"""Progress on its way from a worker to the driver: a small actor, so that it works on any node."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pipeline.cluster.training.progress_actor import ProgressActor
from pipeline.contract import Record, Reporter
from pipeline.errors import Collapsed, TrainingFailed, UserError

BEGUN = "begun"
# What a worker can say about its end, by name: an exception would travel as a pickle of Ray's.
ENDS: dict[str, type[Exception]] = {each.__name__: each for each in (UserError, TrainingFailed, Collapsed)}


class ChannelReporter:
    """A `Reporter` on a worker: posts and forgets, so that progress never stalls training."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def tick(self, record: Record) -> None:
        self._channel.put.remote("tick", record)

    def note(self, message: str) -> None:
        self._channel.put.remote("note", message)

    def begun(self, group: str) -> None:
        """That this worker of the placement group is at work."""
        self._channel.put.remote(BEGUN, group)

    def end(self, kind: type[Exception], message: str) -> None:
        """Why the run does not go on; waits until it has arrived."""
        import ray

        ray.get(self._channel.end.remote(kind.__name__, message))

    def ended(self) -> bool:
        """Whether a worker has said so already: a restart would meet the same end."""
        import ray

        return bool(ray.get(self._channel.ended.remote()))


class ProgressChannel:
    """The driver's end: a thread that hands messages to a reporter while the block runs."""

    def __init__(
        self,
        reporter: Reporter,
        every: float = 0.5,
        on_tick: Callable[[Record], None] | None = None,
        on_begun: Callable[[str], None] | None = None,
    ) -> None:
        import ray
        from ray.exceptions import RayError

        self._ray: Any = ray
        self._errors = RayError
        # Should its process be killed, another takes over; what was on the way is progress only.
        self.actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(ProgressActor).remote()
        self.failure: Exception | None = None
        self._reporter = reporter
        self._on_tick = on_tick
        self._on_begun = on_begun
        self._every = every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> ProgressChannel:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()
        self._done.set()

    def close(self) -> None:
        """Stop listening, and hand on what has arrived since."""
        if not self._done.is_set():
            self._done.set()
            self._thread.join()
            self._deliver()

    def _listen(self) -> None:
        while not self._done.wait(self._every):
            self._deliver()

    def _deliver(self) -> None:
        try:
            messages: list[tuple[str, Any]] = self._ray.get(self.actor.fetch.remote(), timeout=30)
        except self._errors:
            return
        for kind, content in messages:
            try:
                self._hand_on(kind, content)
            except OSError as error:  # a full disk, met by `on_tick`
                self.failure = self.failure or error

    def _hand_on(self, kind: str, content: Any) -> None:
        if kind == "tick":
            if self._on_tick:
                self._on_tick(content)
            self._reporter.tick(content)
        elif kind == "note":
            self._reporter.note(content)
        elif kind == BEGUN:
            if self._on_begun:
                self._on_begun(content)
        else:
            self.failure = self.failure or ENDS[kind](content)
