"""A real Ray cluster on this machine's loopback: a head without CPUs, and nodes, each a raylet, with a token."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

Started = TypeVar("Started")

START = 120  # seconds for a node to be up
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
STORE = str(100 * 2**20)  # bytes of object store a node
RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
NOT_SPILLED = '--system-config={"automatic_object_spilling_enabled":false}'
# What `ray drain-node` does, for a node known by the name it was started with.
DRAIN = """
import sys, time
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2
address, name, seconds = sys.argv[1:]
gcs = GcsClient(address=address)
found = [key.hex() for key, info in gcs.get_all_node_info(timeout=20).items() if info.node_name == name]
reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
deadline = time.time_ns() // 1_000_000 + round(1000 * float(seconds))
print(gcs.drain_node(found[-1], reason, "the spot market takes the machine back", deadline))
"""


class NotUp(RuntimeError):
    """A node that has not come up; what it had to say."""


@dataclass
class Node:
    """`ray start --block` and all it has started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """As a machine that loses power: every process of the node, at once."""
        family = self._family()
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=10)
        self.process.wait()

    def stop(self) -> None:
        """In good order where it can, else as by `kill`."""
        family = self._family()
        self.process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=15)
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=10)
        self.process.wait()

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []


@dataclass
class Cluster:
    """Where it is, and its nodes; `environment` is what a driver needs to be let in."""

    folder: Path
    port: int
    dashboard_port: int
    head: Node
    nodes: list[Node] = field(default_factory=list)
    _names: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}

    def add(self, cpus: int, environment: Mapping[str, str] | None = None) -> Node:
        """One more node; it is up when this returns."""
        arguments = (f"--address={self.address}", f"--num-cpus={cpus}", f"--object-store-memory={STORE}")

        def start() -> Node:
            self._names += 1
            node = _started(self.folder, f"node-{self._names}", arguments, environment or {})
            _until_up(node)
            return node

        node = _twice(start)
        self.nodes.append(node)
        return node

    def drain(self, node: Node, seconds: float) -> None:
        """Notice, by the call of Ray's autoscalers, that the node's machine is taken away in so many seconds."""
        done = subprocess.run(
            [sys.executable, "-c", DRAIN, self.address, node.name, str(seconds)],
            env={**os.environ, **QUIET, **self.environment, "RAY_AUTH_MODE": "token"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode or "True" not in done.stdout:
            raise RuntimeError(f"{node.name} was not drained: {done.stdout}{done.stderr}")

    def tasks(self, name: str) -> dict[str, int]:
        """How many tasks of this name have ended well, by node."""
        kept = (("name", "=", name), ("state", "=", "FINISHED"))
        names = ("filter_keys", "filter_predicates", "filter_values")
        asked = urllib.parse.urlencode(
            [("limit", "1000"), *(pair for each in kept for pair in zip(names, each, strict=True))]
        )
        with self._opened(f"/api/v0/tasks?{asked}") as answer:
            found = json.load(answer)["data"]["result"]["result"]
        return dict(Counter(task["node_id"] for task in found))

    def answers(self) -> bool:
        """Whether the dashboard does."""
        try:
            with self._opened("/api/version"):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _opened(self, page: str) -> Any:
        token = (self.folder / "token").read_text()
        request = urllib.request.Request(f"{self.dashboard}{page}", headers={"Authorization": f"Bearer {token}"})
        return urllib.request.urlopen(request, timeout=10)


@contextlib.contextmanager
def cluster(
    nodes: int = 2, cpus: int = 2, environment: Mapping[str, str] | None = None, spilling: bool = True
) -> Iterator[Cluster]:
    """A cluster for the length of a block. `environment` is what its processes, and so their jobs, see.

    spilling: whether a full object store goes on to the disk, as is Ray's habit.
    """
    folder = Path(tempfile.mkdtemp(prefix="zs-", dir="/tmp"))  # short: paths of sockets have a limit
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(secrets.token_hex(32))
    started: list[Node] = []
    try:
        found = _twice(lambda: _headed(folder, environment or {}, spilling))
        started.append(found.head)
        for _ in range(nodes):
            found.add(cpus, environment)
        yield found
    finally:
        for head in started:
            for node in (*found.nodes, head):
                node.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _headed(folder: Path, environment: Mapping[str, str], spilling: bool) -> Cluster:
    """A cluster of a head alone, on ports of its own."""
    port, dashboard_port = _free(), _free()
    arguments = (
        "--head",
        f"--port={port}",
        "--num-cpus=0",
        f"--object-store-memory={STORE}",
        f"--dashboard-port={dashboard_port}",
        "--dashboard-host=127.0.0.1",
        f"--temp-dir={folder / 'ray'}",
        f"--ray-client-server-port={_free()}",
        *(() if spilling else (NOT_SPILLED,)),
    )
    head = _started(folder, "head", arguments, environment)
    found = Cluster(folder, port, dashboard_port, head)
    _until_up(head, found.answers)
    return found


def _twice(start: Callable[[], Started]) -> Started:
    """Under load a raylet may not come up in time, or find its port taken since: then once more, on fresh ports."""
    try:
        return start()
    except NotUp:
        return start()


def _started(folder: Path, name: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Node:
    log = folder / f"{name}.log"
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                *(*RAY, "start", "--block"),
                "--node-ip-address=127.0.0.1",
                f"--node-name={name}",
                "--disable-usage-stats",
                f"--dashboard-agent-listen-port={_free()}",
                f"--metrics-export-port={_free()}",
                *arguments,
            ],
            env={
                **own,
                **QUIET,
                "PATH": path,
                "RAY_AUTH_MODE": "token",  # of `ray start`, which no module of ours imports
                "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Node(name, process, log)


def _until_up(node: Node, answers: Callable[[], bool] = lambda: True) -> None:
    end = time.monotonic() + START
    while not ("Ray runtime started" in node.log.read_text() and answers()):
        if node.process.poll() is not None or time.monotonic() > end:
            node.kill()
            raise NotUp(node.log.read_text())
        time.sleep(0.2)


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
