from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are adopted on Linux only")

# A stage that starts a process which leaves its session, as Ray's do, and says both pids.
SCRIPT = """
import os, signal, subprocess, sys, time
from stages import _supervisor
_supervisor.supervise("train")
heard = []
signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
stray = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(os.getpid(), stray.pid, flush=True)
{body}
"""


def start(body: str) -> tuple[subprocess.Popen[str], psutil.Process, psutil.Process]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=textwrap.dedent(body))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    worker, stray = (psutil.Process(int(word)) for word in process.stdout.readline().split())
    return process, worker, stray


def gone(process: psutil.Process, within: float) -> bool:
    end = time.monotonic() + within
    while process.is_running() and time.monotonic() < end:
        time.sleep(0.02)
    return not process.is_running()


def test_a_killed_worker_leaves_nobody_behind() -> None:
    process, worker, stray = start("time.sleep(60)")
    worker.kill()
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGKILL
    assert "train: ended by SIGKILL (is the machine out of memory?); run it again to go on" in said
    assert gone(stray, 1)


def test_a_killed_supervisor_takes_the_worker_along() -> None:
    process, worker, stray = start("time.sleep(60)")
    process.kill()
    process.communicate(timeout=5)
    assert gone(worker, 10)
    stray.kill()


@pytest.mark.parametrize("group", [True, False])
def test_ctrl_c_reaches_the_worker_once(group: bool) -> None:
    """A terminal signals the whole group; `kill -INT` one process. The worker hears one SIGINT either way."""
    process, _, stray = start(
        """
        while not heard:
            time.sleep(0.02)
        time.sleep(0.3)
        print("heard", len(heard), flush=True)
        os._exit(130)
        """
    )
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.strip() == "heard 1"
    assert gone(stray, 1)


@pytest.mark.parametrize("code", [0, 2])
def test_the_exit_code_is_the_workers(code: int) -> None:
    process, _, stray = start(f"time.sleep(0.5); stray.terminate(); os._exit({code})")
    process.communicate(timeout=20)
    assert process.returncode == code
    assert gone(stray, 1)


def test_a_closed_terminal_is_a_request_to_end() -> None:
    process, _, stray = start("signal.signal(signal.SIGTERM, lambda *_: os._exit(143)); time.sleep(60)")
    time.sleep(0.2)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert gone(stray, 1)
