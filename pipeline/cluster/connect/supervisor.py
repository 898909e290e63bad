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

from pipeline.cluster.connect.machine import logs_of
from pipeline.cluster.connect.startup_timeout import OPENING

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE = 5.0  # seconds in which what the work started may still end by itself
FAILED = 1
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise(who: str) -> None:
    """Fork. The child returns and works; the parent waits, passes signals on, cleans up and never returns.

    who: what the parent's own sentences begin with. Called before there are threads, which a fork would lose.

    The child leads a process group of its own, so that Ctrl-C reaches it once: through the parent.
    The parent's exit code is the child's, or 128 + the signal that killed it or that it failed at. A child that
    waited for its Ray beyond the limit (`startup_timeout`) is started again, and ends with 1 if that repeats.
    """
    if sys.platform != "linux":
        return
    _control(PR_SET_CHILD_SUBREAPER, 1)
    _end_with_parent()
    sys.stdout.flush()
    before = {number: signal.getsignal(number) for number in FORWARDED}
    heard: list[int] = []
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    for last in (False, True):
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            _end_with_parent()
            if os.getppid() != parent:
                os._exit(128 + signal.SIGTERM)
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
            return
        status = _watch(child, heard)
        _end_the_rest(GRACE if status == 0 else 0.0)
        # Blocked from here on: what comes later is for the next child, and none is lost in between.
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        if status != -signal.SIGALRM or heard or last:
            break
        print(f"\n{who}: Ray did not start within {OPENING:g} s; once more", file=sys.stderr, flush=True)
    _leave(who, status, heard, child)


def _watch(child: int, heard: list[int]) -> int:
    """The child's exit code, or minus the signal that killed it; what is `heard` meanwhile is passed on."""

    def forward(number: int, frame: FrameType | None) -> None:
        # A closed terminal (SIGHUP) is no reason to skip the cleaning up that SIGTERM gets.
        heard.append(signal.SIGTERM if number == signal.SIGHUP else number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, heard[-1])

    for number in FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _leave(who: str, status: int, heard: list[int], child: int) -> NoReturn:
    said, code = "", status if status >= 0 else 128 - status
    if status == -signal.SIGALRM:
        logs = logs_of(child)
        words = f"; Ray's own words are in {logs}" if logs else ""
        said = f"Ray did not start within {OPENING:g} s, twice{words}; free the machine a little, and run it again"
        code = FAILED
        if heard:
            said, code = "interrupted; run it again to go on", 128 + heard[0]
    elif heard and status in (FAILED, heard[0]):
        code = 128 + heard[0]  # Ray's own handlers, while it starts, leave with 1 or with the bare number
    elif status < 0:
        hint = " (is the machine out of memory?)" if status == -signal.SIGKILL else ""
        said = f"ended by {signal.Signals(-status).name}{hint}; run it again to go on"
    if said:
        print(f"\n{who}: {said}", file=sys.stderr, flush=True)
    os._exit(code)


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
