"""How far a long command is, on stderr: a bar with the time to go where a person looks, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from pipeline.streams import terminal

QUIET_SECONDS = 10.0

Advance = Callable[[int, int], None]


@contextmanager
def bars(quiet: bool = False) -> Generator[Callable[[str], Advance], None, None]:
    """A maker of bars: `make("real")(done, total)`; each ends when done is total."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=terminal(sys.stderr))
    if quiet or not console.is_terminal:
        yield (lambda name: _lines(name)) if not quiet else (lambda name: lambda done, total: None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as shown:

        def make(name: str) -> Advance:
            task = shown.add_task(name, total=None)
            return lambda done, total: shown.update(task, completed=done, total=total)

        yield make


def _lines(name: str) -> Advance:
    """A line every few seconds, the first once there is something to report."""
    begun = said = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < QUIET_SECONDS or not done:
            return
        said = now
        left = round((now - begun) / done * (total - done))
        print(f"{name}: {done:,} of {total:,}, ETA {left // 60}:{left % 60:02d}", file=sys.stderr, flush=True)

    return advance
