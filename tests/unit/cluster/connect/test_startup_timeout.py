"""The alarm ends what neither a thread nor a handler can; everything else it leaves as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.cluster.connect.startup_timeout import ended_after

# Called through PyDLL, `sleep` keeps the interpreter's lock, as `ray.init` does while it registers the driver.
HELD = """
import ctypes, signal
from pipeline.cluster.connect.startup_timeout import ended_after
signal.signal(signal.SIGALRM, lambda *_: print("a handler in Python", flush=True))
with ended_after(0.3):
    ctypes.PyDLL(None).sleep(60)
"""


@pytest.fixture
def timer() -> Iterator[None]:
    """The timer of whoever runs this test, put back at its end."""
    handler, left = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *left)


def test_a_process_that_holds_the_lock_is_ended() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (-signal.SIGALRM, "")
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("timer")
def test_what_is_in_time_leaves_no_alarm() -> None:
    with ended_after(5):
        assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(5, abs=0.5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    with pytest.raises(KeyError), ended_after(5):
        raise KeyError
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.usefixtures("timer")
def test_another_timer_goes_on() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 30, 7)
    with ended_after(5):
        time.sleep(0.05)
    left, again = signal.getitimer(signal.ITIMER_REAL)
    assert 25 < left <= 29.96
    assert again == 7
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with ended_after(5):
        time.sleep(0.1)
    time.sleep(0.05)
    assert heard == [signal.SIGALRM], "a time that was over within the block is told after it"


def test_there_are_no_alarms_in_other_threads() -> None:
    before = signal.getsignal(signal.SIGALRM)
    seen: list[object] = []

    def work() -> None:
        with ended_after(0.01):
            seen.append(signal.getsignal(signal.SIGALRM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
