"""A job's journal on its way into the workstation's MLflow, while the job is followed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import TracebackType

from pipeline.dag import journal
from pipeline.errors import UserError
from pipeline.storage.store import Store

EVERY = 30.0  # seconds
HASTE = 5.0  # seconds


class Recording:
    """While the block runs, and at its end, what the job has told is recorded; never to the harm of its result."""

    def __init__(self, store: Store, job: str, root: Path, experiment: str) -> None:
        self._store = store
        self._job = job
        self._root = root
        self._experiment = f"{experiment}-jobs"
        self._lines = self._bytes = 0
        self._silent = False
        self._ended: str | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def ended(self, status: str) -> None:
        """How the job ended, as MLflow has it, for the case that it could not say so itself."""
        self._ended = status

    def __enter__(self) -> Recording:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        # Who pressed Ctrl-C waits less; the next time the job is followed, all of it is recorded.
        self._thread.join(None if kind is None else HASTE)

    def _listen(self) -> None:
        while not self._done.wait(journal.seldom(EVERY, self._bytes)):
            self._record()
        self._record()

    def _record(self) -> None:
        from pipeline.registry import journals

        try:
            text = self._store.read_text(journal.name(self._job))
            lines, self._bytes = journals.parsed(text, self._job), len(text)
            if not lines or (len(lines) == self._lines and self._ended is None):
                return
            journals.record(self._root, self._experiment, lines, self._lines, self._ended)
        except UserError as error:
            if not self._silent:
                print(f"the job's metrics are not in MLflow: {error}", file=sys.stderr, flush=True)
            self._silent = True
            return
        if not self._lines:
            print(f"its metrics are in MLflow: the run {self._job} of {self._experiment}", flush=True)
        self._lines = len(lines)
