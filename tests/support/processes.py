"""Stages as processes that are watched, signalled and killed; who they start is remembered."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import checkout
import psutil


def hear_interrupts() -> None:
    """Whoever is started in the background of a shell, or by nohup, ignores SIGINT, and so does all that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Running:
    """A command in a project, in a session of its own as a terminal would give it."""

    def __init__(self, project: Path, *command: str, env: Mapping[str, str] | None = None) -> None:
        self.project = project
        self._log = project / f"{time.monotonic_ns()}.log"
        self._seen: dict[int, psutil.Process] = {}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=project,
                env={**checkout.environment(project), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, condition: Callable[[], Any], timeout: float = 200) -> Any:
        """What `condition` answers as soon as it is true; the process has to live until then."""
        end = time.monotonic() + timeout
        while not (answer := condition()):
            assert self.process.poll() is None, f"ended early with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < end, f"waited too long:\n{self.output}"
            time.sleep(0.02)
        return answer

    def wait(self, timeout: float = 280) -> int:
        """The exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise

    def kill(self) -> int:
        """kill -9 of the process that works; of a stage, that is the child of its supervisor. The exit code."""
        root = psutil.Process(self.process.pid)
        supervised = any(word.startswith("stages.") for word in root.cmdline())
        # A stage that has only just begun has not forked yet.
        (self.until(root.children)[0] if supervised else root).kill()
        return self.wait(60)

    def kill_until(self, said: str, title: str) -> None:
        """kill -9 of whoever it starts under that title, until it says so: the first may have had nothing to do."""

        def heard() -> bool:
            for each in self.descendants():
                if name(each).startswith(title):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()
            return said in self.output

        self.until(heard)

    def press_ctrl_c(self) -> None:
        """SIGINT to all that share the terminal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def descendants(self) -> list[psutil.Process]:
        """Every process it started, directly or not, that still runs."""
        return [each for each in list(self._seen.values()) if alive(each)]

    def survivors(self, within: float = 20) -> list[str]:
        """Who is still there when all should be gone; the check waits for the slow ones."""
        end = time.monotonic() + within
        while (left := self.descendants()) and time.monotonic() < end:
            time.sleep(0.1)
        return [name(each) for each in left]

    def _watch(self) -> None:
        try:
            root = psutil.Process(self.process.pid)
            while self.process.poll() is None:
                for each in root.children(recursive=True):
                    self._seen.setdefault(each.pid, each)
                time.sleep(0.1)
        except psutil.Error:
            return


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200] or process.name()
    except psutil.Error:
        return "gone"


def stage(project: Path, which: str, env: Mapping[str, str] | None = None) -> Running:
    """`python -m stages.<which>`, started."""
    return Running(project, sys.executable, "-m", f"stages.{which}", env=env)


def finished(
    project: Path, which: str, env: Mapping[str, str] | None = None, code: int = 0, timeout: float = 280
) -> str:
    """A stage run to its end; its output. It leaves no process behind."""
    running = stage(project, which, env)
    found = running.wait(timeout)
    assert found == code, running.output
    assert running.survivors() == []
    assert "Traceback" not in running.output, running.output
    return running.output


def examples_seen(project: Path, storage: Path | None = None) -> int:
    """What `train.json` in the storage (`.work`) says, -1 before there is one."""
    try:
        return int(json.loads(((storage or project / ".work") / "train.json").read_text())["examples_seen"])
    except FileNotFoundError:
        return -1


def readings(project: Path) -> int:
    """Lines of the search's journal."""
    journals = list((project / ".work").glob("tune-*/journal.jsonl"))
    return sum(path.read_bytes().count(b"\n") for path in journals)
