"""Progress on its way from a worker to the driver: a small actor, so that it works on any node."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pipeline.contract import Record, Reporter


class _Mailbox:
    """The actor: keeps letters until they are fetched."""

    def __init__(self) -> None:
        self._letters: list[tuple[str, Any]] = []

    def put(self, kind: str, content: Any) -> None:
        self._letters.append((kind, content))

    def fetch(self) -> list[tuple[str, Any]]:
        letters, self._letters = self._letters, []
        return letters


class MailboxReporter:
    """A `Reporter` on a worker: posts and forgets, so that progress never stalls training."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def tick(self, record: Record) -> None:
        self._mailbox.put.remote("tick", record)

    def note(self, message: str) -> None:
        self._mailbox.put.remote("note", message)

    def failed(self, message: str) -> None:
        """Why the run cannot go on; waits until it has arrived."""
        import ray

        ray.get(self._mailbox.put.remote("failed", message))


class Mailbox:
    """The driver's end: a thread that hands letters to a reporter while the block runs."""

    def __init__(self, reporter: Reporter, every: float = 0.5, on_tick: Callable[[Record], None] | None = None) -> None:
        import ray
        from ray.exceptions import RayError

        self._ray: Any = ray
        self._errors = RayError
        self.actor: Any = ray.remote(num_cpus=0)(_Mailbox).remote()
        self.failure: str | None = None
        self._reporter = reporter
        self._on_tick = on_tick
        self._every = every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Mailbox:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=10)
        if kind is None or issubclass(kind, Exception):
            self.deliver()

    def _listen(self) -> None:
        while not self._done.wait(self._every):
            self.deliver()

    def deliver(self) -> None:
        """Hand on what has arrived."""
        try:
            letters: list[tuple[str, Any]] = self._ray.get(self.actor.fetch.remote(), timeout=30)
        except self._errors:
            return
        for kind, content in letters:
            if kind == "tick":
                if self._on_tick:
                    self._on_tick(content)
                self._reporter.tick(content)
            elif kind == "note":
                self._reporter.note(content)
            else:
                self.failure = str(content)
