"""A small parent for the process that works: whatever ends the work, nobody it started is left behind.

Ray's agents outlive a driver that was killed with -9 by up to a minute. Here they are handed to the
parent, which ends them (Linux; elsewhere the work runs without a parent of this kind).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE = 5.0  # seconds in which what the work started may still end by itself
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise(stage: str) -> None:
    """Fork. The child returns and works; the parent waits, passes signals on, cleans up and never returns.

    The child leads a process group of its own, so that Ctrl-C reaches it once: through the parent.
    The parent's exit code is the child's, or 128 + the signal that killed it.
    """
    if sys.platform != "linux":
        return
    _control(PR_SET_CHILD_SUBREAPER, 1)
    _end_with_parent()
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _end_with_parent()
        if os.getppid() != parent:
            os._exit(128 + signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        return
    _watch(stage, child)


def _watch(stage: str, child: int) -> NoReturn:
    def forward(number: int, frame: FrameType | None) -> None:
        # A closed terminal (SIGHUP) is no reason to skip the cleaning up that SIGTERM gets.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM if number == signal.SIGHUP else number)

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (is the machine out of memory?)" if name == "SIGKILL" else ""
        print(f"\n{stage}: ended by {name}{hint}; run it again to go on", file=sys.stderr, flush=True)
    _end_the_rest(GRACE if status == 0 else 0.0)
    os._exit(status if status >= 0 else 128 - status)


def _end_the_rest(grace: float) -> None:
    """Wait for the processes that the work left, and kill those that stay longer than `grace` seconds."""
    import psutil

    end = time.monotonic() + grace
    here = psutil.Process()
    while _reap():
        if time.monotonic() >= end:
            for each in here.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        time.sleep(0.02)


def _reap() -> bool:
    """Collect the children that have ended; True while others live."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the parent dies: DVC killed with -9 would leave this process behind."""
    _control(PR_SET_PDEATHSIG, signal.SIGTERM)


def _control(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value)
