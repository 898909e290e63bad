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

ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are adopted on Linux only")

# A stage that starts a process which leaves its session, as Ray's do, and says both pids.
SCRIPT = """
import os, signal, subprocess, sys, time
from pipeline.cluster.connect import supervisor
supervisor.supervise("train")
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


@pytest.mark.parametrize("left", ["number", "1", "143"])
def test_who_fails_at_a_signal_was_ended_by_it(left: str) -> None:
    """As by Ray's own handlers, while Ray starts."""
    process, _, stray = start(f"signal.signal(signal.SIGTERM, lambda number, _: sys.exit({left})); time.sleep(60)")
    time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert gone(stray, 1)


ALARMED = """
import os, pathlib, signal, sys, time
from pipeline.cluster.connect import supervisor
starts = pathlib.Path(sys.argv[1])
supervisor.supervise("ingest")
with starts.open("a") as file:
    file.write("start\\n")
{body}
if len(starts.read_text().split()) <= int(sys.argv[2]):
    os.kill(os.getpid(), signal.SIGALRM)
print("worked", flush=True)
os._exit(3)
"""


@pytest.mark.parametrize(("alarms", "code", "starts"), [(0, 3, 1), (1, 3, 2), (2, 1, 2)])
def test_a_ray_that_does_not_start_is_started_once_more(tmp_path: Path, alarms: int, code: int, starts: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALARMED.format(body=""), str(tmp_path / "starts"), str(alarms)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
    )
    assert (done.returncode, len((tmp_path / "starts").read_text().split())) == (code, starts)
    assert done.stdout.count("ingest: Ray did not start within 120 s; once more") == min(alarms, 1)
    assert ("did not start within 120 s, twice" in done.stdout) == (alarms == 2)
    assert ("worked" in done.stdout) == (alarms < 2)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=lambda each: str(each)
)
def test_who_interrupts_a_ray_that_does_not_start_ends_it(number: int, code: int, tmp_path: Path) -> None:
    """The interpreter hears nothing in that wait: the kernel's alarm ends it, and it is not begun again."""
    body = """
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
print("waits", flush=True)
time.sleep(1)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", ALARMED.format(body=body), str(tmp_path / "starts"), "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "waits\n"
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == code
    assert said.strip() == "ingest: interrupted; run it again to go on"
    assert (tmp_path / "starts").read_text() == "start\n"
