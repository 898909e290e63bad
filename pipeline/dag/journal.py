"""What a job measures, line by line as JSON: the workstation that submitted it brings it into its MLflow.

    {"kind": "job", "at": …, "job": …, "stage": …, "lineage": {…}}      first: whose it is
    {"kind": "tick", "at": …, "values": {…}}                            training: a record of the loop
    {"kind": "reading", "at": …, "values": {…}}                         search: a reading of a trial
    {"kind": "scores", "at": …, "values": {…}}                          evaluation: metrics.json
    {"kind": "end", "at": …, "code": …, "seconds": …}                   last, unless it was killed

`at` is the time in seconds since 1970. A stage that is no job's writes none.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.storage.store import Store

PLACE = "ZEROSUM_JOURNAL"
EVERY = 10.0  # seconds between two times that it is sent


def name(job: str) -> str:
    """The journal's document in the store."""
    return f"jobs/{job}/journal.jsonl"


def seldom(seconds: float, size: int) -> float:
    """A pause that grows with what is sent after it, as it is always sent whole: twice as long at a MiB."""
    return seconds * (1 + size / 2**20)


def tell(kind: str, values: Mapping[str, Any]) -> None:
    """A line of the journal, where this stage is a job's."""
    if place := os.environ.get(PLACE):
        write(Path(place), kind, values=dict(values))


def reading(values: Mapping[str, Any]) -> None:
    """A reading of a trial."""
    tell("reading", values)


def write(path: Path, kind: str, **content: Any) -> None:
    """Append a line; a reader may meet the last one half written."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "at": round(time.time(), 3), **content}, sort_keys=True) + "\n")


@contextmanager
def sent(store: Store, path: Path, job: str) -> Generator[None]:
    """While the block runs, what is new in the journal goes to the store; all of it on the way out."""
    done = threading.Event()

    def send() -> None:
        known = 0
        while True:
            last = done.wait(seldom(EVERY, known))
            if (size := path.stat().st_size) != known:
                with suppress(UserError):  # metrics must not end what is measured
                    store.write_text(name(job), path.read_text(encoding="utf-8"))
                    known = size
            if last:
                return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
