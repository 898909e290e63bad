"""What a private Ray asks of this machine: a folder for its files alone, a name for this Python, room, and a network.

Ray refuses some of it after half a minute, with a traceback or with a word of its own; here it is looked at before,
and mended where that can be done from here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError

SOCKETS = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"  # the longest that Ray makes in its folder
LONGEST = 103 if sys.platform == "darwin" else 107  # bytes of a socket's path
PREFIX, LOGS = "zerosum-ray-", "zerosum-logs-"  # our own folders for Ray's files, and what is kept of them
YOUNG = 60  # seconds in which a folder may not be locked yet
FREE = 64 * 2**20  # bytes: logs of a session, and what is beside them
SHARED_MEMORY = Path("/dev/shm")
LAST_LINES = 6


@dataclass(frozen=True)
class Surroundings:
    """Of a private Ray: `folder` for its files, `store` for its object store where /dev/shm does not do."""

    folder: str | None = None
    store: str | None = None


@contextmanager
def prepared(object_store: int) -> Generator[Surroundings]:
    """The surroundings of a private Ray for the block, in a folder that nobody else can enter; removed after it.

    Ray's own choice, /tmp/ray, is one that every user of the machine may write to.

    object_store: bytes that its object store reserves.

    Raises:
        UserError: if Ray cannot start on this machine, with what would do.
    """
    _check_limits(object_store)
    _check_network()
    python, paths = sys.executable, list(sys.path)
    store = not _shared_memory_serves()
    with _own_folder(object_store if store else 0) as own:
        if shlex.quote(python) != python:
            _rename_python(own / "python")
        try:
            yield Surroundings(str(own / "ray"), str(own) if store else None)
        finally:
            sys.executable, sys.path[:] = python, paths


def unfit(folder: Path, needed: int = FREE) -> str | None:
    """Why Ray's files cannot be in this folder, which is made if it is missing; None where they can.

    needed: bytes that have to be free.
    """
    text = str(folder)
    if not folder.is_absolute():
        return "is not an absolute path"
    if shlex.quote(text) != text:
        return "has characters that the names of Ray's sockets cannot have"
    if len(os.fsencode(folder / SOCKETS)) > LONGEST:
        return f"is too long: the names of Ray's sockets leave room for {LONGEST - len(SOCKETS) - 1} bytes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="probe-") as inside, socket.socket(socket.AF_UNIX) as probe:
            probe.bind(f"{inside}/s")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"cannot be used ({error.strerror or error})"
    return None if free >= needed else f"has {free / 2**20:.0f} MiB free, and {needed / 2**20:.0f} are needed"


def logs_of(pid: int) -> Path | None:
    """The logs of the newest Ray that the process `pid` started; None if it has none."""
    places = [found / "ray" for place in _places() for found in _mine(place)]
    found = [path for place in places for path in place.glob(f"session_*_{pid}/logs")]
    return max(found, key=lambda path: path.parent.name, default=None)


def last_words(logs: Path, count: int = LAST_LINES) -> list[str]:
    """The last errors in the logs of Ray's two servers, stacks left out; their last lines where there are no errors."""
    lines: list[str] = []
    for name in ("gcs_server.err", "gcs_server.out", "raylet.err", "raylet.out"):
        with contextlib.suppress(OSError):
            lines += (logs / name).read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in dict.fromkeys(lines) if line.strip() and not STACK.search(line)]
    errors = [line for line in lines if SERIOUS.search(line)]
    return (errors or lines)[-count:]


STACK = re.compile(r"^\S*(\[.*logging\.cc:\d+: +)?(@ +0x|PC: @|\*\*\* )|StackTrace Info|\(\+0x[0-9a-f]+\) \[0x|^RAW: ")
SERIOUS = re.compile(r"^\[.*? [ECF] |^terminate called|^\s*what\(\):|rror:")


def reason(said: str, words: list[str]) -> str | None:
    """Why a private Ray did not start, where that is known to be this machine's, and what would do; else None.

    said: what `ray.init` raised. words: the last lines of its logs.
    """
    text = "\n".join([said, *words])
    for pattern, sentence in REASONS:
        if re.search(pattern, text):
            return sentence
    return None


REASONS = (
    (
        r"Too many open files",
        "this shell allows too few open files; raise the limit (`ulimit -n 4096`) and run it again",
    ),
    (
        r"Resource temporarily unavailable|can't start new thread|pthread_create|failed to create thread"
        r"|Cannot fork|BlockingIOError",
        "this shell or container allows too few processes and threads; raise the limit (`ulimit -u`, or the "
        "container's pids limit), or take a smaller run.num_workers",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "the disk of Ray's files is full; free some space, or name another folder in TMPDIR",
    ),
    (
        r"Cannot allocate memory|std::bad_alloc|MemoryError|greater than the total available memory",
        "there is too little memory for Ray; free some, or raise the limit (`ulimit -v`, or the container's)",
    ),
    (
        r"Address already in use|already occupied",
        "a port that Ray asks for is taken; unset the RAY_… variables that name ports, or end what uses it",
    ),
    (
        r"AF_UNIX path length|socket path|File name too long",
        "the path of the folder for temporary files is too long; name a short one in TMPDIR, such as /tmp",
    ),
    (
        r"Permission denied|Read-only file system|Operation not permitted",
        "Ray may not write to a folder of its own; name one in TMPDIR that is yours",
    ),
)


def unjoined(said: str) -> str:
    """Why a cluster was not joined, from what `ray.init` raised, as one sentence."""
    found = VERSIONS.search(said)
    if found:
        theirs, ours = (f"Ray {found[each]} and Python {found[each + 1]}" for each in (1, 3))
        return f"it has {theirs}, and this environment {ours}; make them the same"
    # It has answered before this: a token that is not its own is told of on stderr alone, and here as no connection.
    if re.search(r"[Aa]uth|[Tt]oken|Failed to connect to Ray cluster", said):
        return (
            "it answers and does not take this process in, mostly since the token that is here is not its own; copy "
            "the head's, and name it in RAY_AUTH_TOKEN_PATH (RAY_AUTH_TOKEN, where it is set, comes before that)"
        )
    return first_line(said)


def first_line(text: str) -> str:
    """The first sentence-bearing line of a message."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def kept(logs: Path) -> Path:
    """Where a copy of these logs outlives our folder, for its owner alone; else the logs themselves."""
    ours = next((each for each in logs.parents if each.name.startswith(PREFIX)), None)
    if ours is None:
        return logs
    copy = Path(tempfile.mkdtemp(prefix=LOGS, dir=ours.parent))
    with contextlib.suppress(OSError, shutil.Error):
        shutil.copytree(logs, copy, dirs_exist_ok=True)
    copy.chmod(0o700)  # the copy of the folder has the mode of the one it is of
    return copy


VERSIONS = re.compile(
    r"started with:\s*Ray: (\S+)\s*Python: (\S+)\s.*?started with:\s*Ray: (\S+)\s*Python: (\S+)", re.S
)


def _check_limits(object_store: int) -> None:
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    for limit in (soft, largest):
        if limit != resource.RLIM_INFINITY and limit < object_store:
            raise UserError(
                f"Ray cannot start: this shell allows files of {limit / 2**20:,.0f} MiB at most, and Ray's object "
                f"store is one of {object_store / 2**20:,.0f} MiB; raise the limit (`ulimit -f unlimited`)"
            )


def _check_network() -> None:
    """Refuse a machine that cannot speak to itself: Ray would try for two minutes, with the interpreter's lock held."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname(), timeout=5),
        ):
            pass
    except OSError as error:
        raise UserError(
            f"Ray cannot start: this machine does not reach itself at 127.0.0.1 ({error.strerror or error}); bring its "
            "loopback interface up (`ip link set lo up`)"
        ) from None


def _shared_memory_serves() -> bool:
    """Whether something can be written to /dev/shm; where it is merely small, Ray itself goes elsewhere."""
    if sys.platform != "linux":
        return True
    try:
        with tempfile.TemporaryFile(dir=SHARED_MEMORY):
            return True
    except OSError:
        return False


@contextmanager
def _own_folder(room: int) -> Generator[Path]:
    """A new folder, nobody else's, with a short and plain path; those that killed runs left are swept.

    room: bytes that are needed in it, beside Ray's logs.

    Raises:
        UserError: if there is no place for one.
    """
    wrong: list[str] = []
    for place in _places():
        if not place.is_absolute():
            wrong.append(f"{place} is not an absolute path")
            continue
        try:
            _sweep(place)
            own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        except OSError as error:
            wrong.append(f"{place} cannot be used ({error.strerror or error})")
            continue
        if unsuited := unfit(own / "ray", FREE + room):
            shutil.rmtree(own, ignore_errors=True)
            wrong.append(f"{place} {unsuited}")
            continue
        lock = os.open(own, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            yield own
        finally:
            os.close(lock)
            shutil.rmtree(own, ignore_errors=True)
        return
    raise UserError(
        f"Ray cannot start: there is no folder for its files ({'; '.join(wrong)}); name in TMPDIR a short one on a "
        "disk of this machine, that you may write to"
    )


def _places() -> list[Path]:
    named = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR", "XDG_RUNTIME_DIR")]
    return list(dict.fromkeys(Path(name) for name in (*filter(None, named), "/tmp", "/var/tmp", "/dev/shm")))


def _sweep(place: Path) -> None:
    """Remove our folders whose process is gone, as nobody holds their lock."""
    for left in _mine(place):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime < YOUNG:
                continue
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _mine(place: Path) -> Iterator[Path]:
    for found in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if not found.is_symlink() and found.stat().st_uid == os.getuid():
                yield found


def _rename_python(link: Path) -> None:
    """Call this environment by a path without characters that a shell would read, where Ray starts its processes.

    Ray puts the path of Python unquoted into a shell's command, and those of its own files into one that it splits
    at quotes.
    """
    binary = Path(sys.executable)
    real = binary.parent.parent
    link.symlink_to(real, target_is_directory=True)
    sys.executable = str(link / binary.parent.name / binary.name)
    if "ray" not in sys.modules:
        sys.path[:] = [
            str(link / Path(entry).relative_to(real)) if entry and Path(entry).is_relative_to(real) else entry
            for entry in sys.path
        ]
