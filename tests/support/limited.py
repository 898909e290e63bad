"""Readers run in a child process that may not take more memory, so that a bomb ends a test and not the machine."""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Rejected, UserError

MIB = 2**20
MEGABYTES = 512  # beyond what the process has when it begins
SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """Of one input. how: decoded, refused (with an error of ours), escaped (with another), killed, or late."""

    number: int
    how: str
    what: str = ""
    seconds: float = 0.0


def call(function: Callable[[], object], megabytes: int = MEGABYTES, seconds: float = SECONDS) -> Outcome:
    """What becomes of one call."""
    (found,) = each(lambda _: function(), [0], megabytes, seconds)
    return found


def each(
    function: Callable[[int], object],
    numbers: Sequence[int],
    megabytes: int = MEGABYTES,
    seconds: float = SECONDS,
    until: float = float("inf"),
) -> Iterator[Outcome]:
    """What becomes of `function(number)` for each number, one child process after the other as they die.

    until: the time by the monotonic clock after which no more are begun.
    """
    done = 0
    while done < len(numbers) and time.monotonic() < until:
        for outcome in _child(function, numbers[done:], megabytes, seconds, until):
            done += 1
            yield outcome


def _child(
    function: Callable[[int], object], numbers: Sequence[int], megabytes: int, seconds: float, until: float
) -> Iterator[Outcome]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(function, numbers, megabytes, until, writing)
    os.close(writing)
    left, count, late = b"", 0, False
    try:
        while True:
            if not select.select([reading], [], [], seconds)[0]:
                os.kill(child, signal.SIGKILL)
                late = True
            piece = os.read(reading, 2**16)
            if not piece:
                break
            *lines, left = (left + piece).split(b"\n")
            for line in lines:
                count += 1
                yield Outcome(**json.loads(line))
    finally:
        os.close(reading)
        if count == len(numbers) or late:
            os.waitpid(child, 0)
        else:
            status = _ended(child)
            if status != 0:
                yield Outcome(numbers[count], "killed", f"status {status}")
    if late and count < len(numbers):
        yield Outcome(numbers[count], "late", f"not done after {seconds:g} s", seconds)


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _work(
    function: Callable[[int], object], numbers: Sequence[int], megabytes: int, until: float, writing: int
) -> None:
    """The child's life; it never returns."""
    code = 1
    try:
        import torch

        torch.set_num_threads(1)  # its threads do not live through a fork
        warnings.simplefilter("ignore")
        gc.freeze()
        base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (base + megabytes * MIB, resource.RLIM_INFINITY))
        for number in numbers:
            if time.monotonic() >= until:
                break
            began = time.monotonic()
            how, what = "decoded", ""
            try:
                function(number)
            except (UserError, Rejected) as error:
                how, what = "refused", str(error)[:2000]
            except BaseException as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                how = "escaped"
                what = f"{type(error).__name__}: {str(error)[:300]} ({place.filename}:{place.lineno})"
            line = {"number": number, "how": how, "what": what, "seconds": time.monotonic() - began}
            os.write(writing, json.dumps(line).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)
