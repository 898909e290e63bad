"""Chaos without Ray: ranks as processes, a small supervisor that does what Ray Train does, and real faults."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import troubled

RANK = Path(__file__).with_name("rank.py")
ROOT = Path(__file__).parents[2]
EXAMPLES = 1280
TIMEOUT = 6  # seconds before a collective gives up on a rank that hangs
PATIENT = 40  # the same where a rank may be waiting for a store that does not answer
HUNG = 90  # seconds without progress
SIZES = (1, 2, 3, 4)
IMPOSSIBLE = "impossible: no right to mount a disk"


@dataclass
class Injection:
    """One fault: what, how it ended, and what it cost.

    seconds: from the fault until there is more than before; of a stage that has to be run again, all that its start
    took, which is an upper bound.
    """

    fault: str
    seconds: float = 0.0
    struck: bool = True  # False where the run was over before
    survived: bool = False
    hung: bool = False
    orphans: int = 0
    wrong_bytes: bool = False
    said: str = ""


@dataclass
class Training:
    """One small training on disk, its processes, and what was done to it."""

    folder: Path
    family: str
    storage: str = ""  # an object store, beside the folder
    ranks: int = 2
    extra: dict[str, Any] = field(default_factory=dict)
    trouble: troubled.Trouble | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    hung: bool = False

    def begin(self) -> None:
        """All ranks, from the newest checkpoint there is, until they have met.

        On a machine with too much to do they may not meet in time; they are started again then, as Ray would.
        """
        for _ in range(3):
            meeting = self._start()
            if self.until((self.folder / f"{meeting}.met").exists, HUNG):
                return

    def _start(self) -> str:
        """All ranks as processes; the name of the place where they meet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        meeting = f"meeting-{uuid.uuid4().hex[:8]}"
        told = {
            "folder": str(self.folder),
            "family": self.family,
            "storage": self.storage,
            "ranks": self.ranks,
            "examples": EXAMPLES,
            "timeout": self.timeout,
            # Rarely enough to spare the store; every checkpoint of the one is one of the other.
            "checkpoint": 128 if self.storage else 64,
            "meeting": str(self.folder / meeting),
            **{"nan": None, "diverge": None, "hang": None, "victim": 0, "clock": 0.0},
            **self.extra,
        }
        path = self.folder / f"told-{uuid.uuid4().hex[:8]}.json"
        path.write_text(json.dumps(told))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        for process in self.processes:
            process.wait()
        self.processes = []
        for rank in range(self.ranks):
            with (self.folder / f"rank-{rank}.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, str(RANK), str(path), str(rank)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.processes.append(process)
            self.seen[process.pid] = psutil.Process(process.pid)
        return meeting

    @property
    def timeout(self) -> int:
        return PATIENT if self.trouble else TIMEOUT

    def trouble_or_fail(self) -> troubled.Trouble:
        if self.trouble is None:
            raise ValueError("this fault takes a store that can be troubled")
        return self.trouble

    def progress(self) -> int:
        try:
            return int((self.folder / "progress").read_bytes() or 0)
        except FileNotFoundError:
            return 0

    def result(self) -> str | None:
        path = self.folder / "result"
        return path.read_text() if path.exists() else None

    def kill(self, which: int | None = None, number: int = signal.SIGKILL) -> None:
        """A signal to one rank, or to all."""
        for process in self.processes if which is None else [self.processes[which % len(self.processes)]]:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Whether it came true while ranks were alive and within `limit` seconds."""
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end or all(process.poll() is not None for process in self.processes):
                return condition()
            time.sleep(0.02)
        return True

    def end(self) -> list[int | None]:
        """As Ray does: when one rank has failed, the others are ended. Exit codes; None where nobody came to an end."""
        last, moved = self.progress(), time.monotonic()
        while any(process.poll() is None for process in self.processes):
            codes = [process.poll() for process in self.processes]
            if any(code not in (None, 0) for code in codes):
                # The others are given what a collective takes to give up: a hang must end by itself.
                self.until(lambda: False, self.timeout + 4)
                break
            if self.progress() != last:
                last, moved = self.progress(), time.monotonic()
            if time.monotonic() - moved > HUNG:
                self.hung = True
                break
            time.sleep(0.05)
        codes = [process.poll() for process in self.processes]
        self.kill()
        for process in self.processes:
            process.wait()
        return codes

    def orphans(self) -> list[int]:
        """Who still runs of all that was ever started."""
        return [pid for pid, each in self.seen.items() if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def reference(folder: Path, family: str, nan: int | None = None) -> str:
    """The bytes of a training that nothing happens to, on one rank."""
    training = Training(folder / f"{family}-{nan}", family, ranks=1, extra={"nan": nan})
    training.begin()
    training.end()
    found = training.result()
    if found is None:
        raise RuntimeError((training.folder / "rank-0.log").read_text())
    return found


# --- faults: each leaves the training stopped or crippled, and says what it did ---------------------


def worker_killed(training: Training, chance: random.Random) -> str:
    training.kill(chance.randrange(training.ranks))
    return "kill -9 of one rank"


def node_killed(training: Training, chance: random.Random) -> str:
    training.kill()
    return "kill -9 of all ranks at once"


def preempted(training: Training, chance: random.Random) -> str:
    training.kill(chance.randrange(training.ranks), signal.SIGTERM)
    return "SIGTERM to one rank"


def hung(training: Training, chance: random.Random) -> str:
    if training.ranks == 1:
        return worker_killed(training, chance)  # nobody waits for it, and nobody could tell
    training.kill(chance.randrange(2), signal.SIGSTOP)
    return "one rank stopped in its tracks"


def torn_checkpoint(training: Training, chance: random.Random) -> str:
    training.kill()
    found = newest(training)
    if found is None:
        return "killed before a checkpoint"
    file = chance.choice(sorted(path for path in found.iterdir() if path.is_file()))
    how = chance.choice(["cut short", "one bit turned", "removed"])
    data = bytearray(file.read_bytes())
    if how == "removed":
        file.unlink()
    elif how == "cut short":
        file.write_bytes(data[: len(data) // 2])
    elif data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
    return f"{file.name} of the newest checkpoint {how}"


def litter(training: Training, chance: random.Random) -> str:
    training.kill()
    folder = training.folder / "scratch" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f".{chance.randrange(10**9):012d}.{uuid.uuid4().hex[:8]}.tmp"
    half.mkdir()
    (half / "networks.safetensors").write_bytes(b"half a checkpoint")
    return "half a checkpoint left behind"


def clock(training: Training, chance: random.Random) -> str:
    training.kill()
    training.extra["clock"] = float(chance.choice([-86_400, 86_400, -3e8]))
    folder = training.folder / "scratch"
    for path in folder.rglob("*") if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (chance.choice([1, 4e9]),) * 2)
    return f"the clock moved by {training.extra['clock']:+.0f} s, files dated 1970 and 2096"


def disk_full(training: Training, chance: random.Random) -> str:
    """A disk of its own under the scratch folder, all but full; some space again when the ranks have failed."""
    training.kill()
    for process in training.processes:
        process.wait()
    scratch = training.folder / "scratch"
    kept = training.folder / "kept"
    if scratch.exists():
        shutil.copytree(scratch, kept, dirs_exist_ok=True)
    scratch.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(scratch)], capture_output=True)
    if done.returncode:
        shutil.rmtree(kept, ignore_errors=True)
        return IMPOSSIBLE
    try:
        if kept.exists():
            shutil.copytree(kept, scratch, dirs_exist_ok=True)
        free = os.statvfs(scratch)
        (scratch / "filler").write_bytes(
            bytes(max(0, free.f_bavail * free.f_bsize - chance.choice([0, 20_000, 60_000])))
        )
        training.begin()
        codes = training.end()
        said = any(code not in (0, None) for code in codes) and "the disk is full" in logs(training)
        said |= training.result() is not None  # it ended before it had to write
        (scratch / "filler").unlink()
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(scratch, kept)
    finally:
        subprocess.run(["umount", str(scratch)], check=True)
    shutil.rmtree(scratch, ignore_errors=True)
    kept.rename(scratch)
    return f"the disk full (exit codes {codes})" + ("" if said else ", and nobody said so")


def diverged(training: Training, chance: random.Random) -> str:
    training.kill()
    (training.folder / "diverge.done").unlink(missing_ok=True)
    training.ranks = chance.choice([2, 4])
    training.extra |= {"diverge": training.progress() + 32, "victim": chance.randrange(1, 4)}
    training.begin()
    codes = training.end()
    training.extra["diverge"] = None
    said = "ranks hold different weights" in logs(training) or training.result() is not None
    return f"one rank's weights changed (exit codes {codes})" + ("" if said else ", and nobody noticed")


def s3_errors(training: Training, chance: random.Random) -> str:
    """The machine is lost, and all comes back from a store that errs, drops, loses and cuts."""
    return _from_afar(training, chance, troubled.ERRORS, chance.uniform(0.05, 0.2))


def s3_slow(training: Training, chance: random.Random) -> str:
    return _from_afar(training, chance, troubled.SLOW, chance.uniform(0.1, 0.3))


def s3_gone(training: Training, chance: random.Random) -> str:
    """The store stays away for longer than anybody waits."""
    training.trouble_or_fail().begin(troubled.GONE, 1.0)
    codes = training.end()
    training.trouble_or_fail().calm()
    said = "does not answer" in logs(training) or training.result() is not None
    return f"the store away (exit codes {codes})" + ("" if said else ", and nobody said so")


def _from_afar(training: Training, chance: random.Random, kinds: tuple[str, ...], share: float) -> str:
    trouble = training.trouble_or_fail()
    training.kill()
    for process in training.processes:
        process.wait()
    if chance.random() < 0.5:
        shutil.rmtree(training.folder / "scratch", ignore_errors=True)
    before, goal = trouble.struck.total(), training.progress() + 128
    trouble.slowness = chance.uniform(0.1, 0.5)
    trouble.begin(kinds, share)
    training.begin()
    training.until(lambda: training.progress() >= goal, HUNG)
    trouble.calm()
    codes = [process.poll() for process in training.processes]
    training.kill()
    failed = any(code not in (0, None) for code in codes)
    nobody = ", and nobody said so" if failed and "does not answer" not in logs(training) else ""
    struck = trouble.struck.total() - before
    return f"{', '.join(kinds)} to {share:.0%} of the requests: {struck} (exit codes {codes}){nobody}"


# These take a store that can be troubled.
OF_STORE: dict[str, Callable[[Training, random.Random], str]] = {
    "S3 errors": s3_errors,
    "S3 slow": s3_slow,
    "S3 gone": s3_gone,
}

FAULTS: dict[str, Callable[[Training, random.Random], str]] = {
    "worker killed": worker_killed,
    "node killed": node_killed,
    "preempted": preempted,
    "hung rank": hung,
    "torn checkpoint": torn_checkpoint,
    "litter": litter,
    "clock": clock,
    "disk full": disk_full,
    "diverged rank": diverged,
    **OF_STORE,
}


def endure(
    training: Training, faults: Sequence[str], chance: random.Random, apart: int = EXAMPLES // 2
) -> list[Injection]:
    """Start it, strike it at random moments, start it again with another number of ranks, and let it come to its end.

    apart: most examples between two faults.
    """
    done: list[Injection] = []
    training.begin()
    for fault in faults:
        at_work(training, training.progress() + chance.randrange(64, apart))
        time.sleep(chance.uniform(0, 0.2))
        if training.result() is not None:
            break
        began = time.monotonic()
        training.hung = False
        done.append(Injection(fault, said=FAULTS[fault](training, chance)))
        training.end()
        done[-1].hung, done[-1].struck = training.hung, done[-1].said != IMPOSSIBLE
        training.ranks, seen = chance.choice(SIZES), training.progress()
        training.begin()
        # What the fault cost: until there is more than before.
        training.until(lambda seen=seen: training.progress() > seen or training.result() is not None, HUNG)
        done[-1].seconds = time.monotonic() - began
    training.end()
    for _ in range(2):
        # Ranks that died of what an earlier fault had left are started again, as Ray would.
        if training.result() is None:
            training.begin()
            training.end()
    return done


def at_work(training: Training, goal: int) -> None:
    """On to this number of examples, by ranks that are alive: on a machine with too much to do they may not even meet,
    and there would be nobody to strike. They are started again then, as Ray would."""
    for _ in range(3):
        reached = training.until(lambda: training.progress() >= goal, 60)
        if reached or training.result() is not None or any(each.poll() is None for each in training.processes):
            return
        training.begin()


def newest(training: Training) -> Path | None:
    folder = training.folder / "scratch" / "checkpoints"
    found = sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.exists() else []
    return found[-1] if found else None


def logs(training: Training) -> str:
    return "".join(path.read_text(errors="replace") for path in sorted(training.folder.glob("rank-*.log")))
