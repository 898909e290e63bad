"""Ends the process by SIGALRM where a call holds the GIL for too long, so that no thread or handler could run."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

OPENING = 120.0  # seconds; Ray's own limits on the way, where it has them, are 30 and 60


@contextmanager
def ended_after(seconds: float) -> Generator[None]:
    """The kernel ends this process with SIGALRM if the block takes longer; in the main thread, where there are signals.

    A timer that runs already, as a test's, is put back and goes on.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 1e-3), again)
