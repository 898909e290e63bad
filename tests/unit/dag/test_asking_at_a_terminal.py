"""Ctrl-C at a real terminal while a job is followed: the question, and what each answer does."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="there is a supervisor on Linux only"),
]

# What `dvc repro` starts, but for the cluster: the one who asks is a child of the one whom the terminal knows.
SCRIPT = """
import sys, time
from pipeline.cluster.connect.supervisor import supervise
from pipeline.dag.remote import _asking

class Jobs:
    def stop(self, job):
        print("asked the cluster to end", job, flush=True)

supervise("train")
try:
    with _asking(Jobs(), "zerosum-train-1"):
        print("following", flush=True)
        for _ in range(600):
            time.sleep(0.1)  # as one who follows: Python may miss a signal just before it waits, until it wakes
except KeyboardInterrupt:
    sys.exit(130)
"""
QUESTION = "stop the job too? [y/N] "


@pytest.mark.parametrize(("keys", "stops"), [("Yes\n", True), ("\n", False), ("\x03", False)])
def test_an_answer_decides_what_becomes_of_the_job(keys: str, stops: bool) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT])
    try:
        said = until(terminal, "following")
        os.write(terminal, b"\x03")
        said += until(terminal, QUESTION)
        time.sleep(1)  # Python writes the question just before it listens, and misses a signal in between
        os.write(terminal, keys.encode())
        said += until(terminal, "")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(terminal)
    assert code == 130, said
    assert ("asked the cluster to end zerosum-train-1" in said) == stops, said
    assert ("the job zerosum-train-1 goes on; run it again to follow it" in said) == (not stops), said
    assert "Traceback" not in said, said


def until(terminal: int, text: str, limit: float = 60) -> str:
    """What the terminal shows until it shows the text; without one, until whoever writes there has ended."""
    said, end = "", time.monotonic() + limit
    while not text or text not in said:
        assert time.monotonic() < end, said
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                said += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # of a terminal whose last user has left
                break
    return said
