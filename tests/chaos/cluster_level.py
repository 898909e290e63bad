"""Chaos on a Ray cluster of several raylets: nodes that die, are called back or are full, and a head that dies.

The driver joins from outside, its checkpoints are in a folder that all nodes share. A lost node is replaced, as an
autoscaler would; a lost head ends the run, and the next one goes on at a new head.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import checkout
import clusters
import psutil
from loop_level import Injection
from processes import Running, alive, examples_seen, name, stage
from ray_level import LIMIT, SAME, TICK, WORKERS, fresh, lengthened, standstill, verify, within

HOG = Path(__file__).with_name("hog.py")
NOTICE = 12.0  # seconds between notice and the end of a machine
END_OF_NODES = 120.0  # seconds in which nodes without a head end by themselves
SETTINGS = {"run.num_workers": 2, "run.placement": "SPREAD", "run.collective_timeout": 60}


@dataclass
class Scene:
    """A cluster that may have to be made again, and the stage that runs on it."""

    project: Path
    shared: Path
    stack: contextlib.ExitStack
    spilling: bool = True
    cluster: clusters.Cluster = field(init=False)
    running: Running = field(init=False)
    orphans: list[str] = field(default_factory=list[str])

    def begin(self) -> None:
        """A cluster of two nodes with a CPU each, and the training on it."""
        self.cluster = self.stack.enter_context(clusters.cluster(nodes=2, cpus=1, spilling=self.spilling))
        where = {"run.address": self.cluster.address, "run.storage": str(self.shared)}
        checkout.configure(self.project, {**SETTINGS, **where})
        self.running = stage(self.project, "train", self.cluster.environment)

    def progress(self) -> int:
        return examples_seen(self.project, self.shared)

    def come_to(self, examples: int, limit: float = 240) -> bool:
        """Whether the training got there, alive."""
        end = time.monotonic() + limit
        while self.progress() < examples and self.running.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        return self.progress() >= examples and self.running.process.poll() is None

    def workers(self) -> list[psutil.Process]:
        """The ranks on all nodes."""
        return [each for node in self.cluster.nodes for each in workers_on(node)]

    def at_work(self) -> list[clusters.Node]:
        """The nodes on which a rank trains."""
        return [node for node in self.cluster.nodes if workers_on(node)]


def workers_on(node: clusters.Node) -> list[psutil.Process]:
    """The living processes of Ray Train's on a node; none on one that has died."""
    if node.process.poll() is not None:
        return []
    family = psutil.Process(node.process.pid).children(recursive=True)
    return [each for each in family if alive(each) and name(each).startswith(WORKERS)]


def node_killed(scene: Scene, chance: random.Random) -> str:
    """The power of a machine fails; another one comes."""
    found = scene.at_work() or scene.cluster.nodes
    chance.choice(found).kill()
    scene.cluster.add(1)
    return "a node killed, another added"


def preempted(scene: Scene, chance: random.Random) -> str:
    """Notice on a spot machine; another comes, and at the deadline the first is gone."""
    found = scene.at_work()
    if not found:
        return "no rank was at work"
    node, notices = chance.choice(found), scene.running.output.count("preemption notice")
    scene.cluster.add(1)
    scene.cluster.drain(node, NOTICE)
    deadline = time.monotonic() + NOTICE
    while time.monotonic() < deadline and scene.running.process.poll() is None:
        time.sleep(0.05)
    heard, over = scene.running.output.count("preemption notice") > notices, scene.running.process.poll() is not None
    node.kill()
    if over:
        return "notice, and the training was over before its end"
    return "notice, then a node gone" + ("" if heard else ", and nobody heard the notice")


def store_full(scene: Scene, chance: random.Random) -> str:
    """Every node's object store is filled to the brim by another driver, for a while."""
    environment = {**os.environ, **clusters.QUIET, **scene.cluster.environment}
    with subprocess.Popen(
        [sys.executable, str(HOG), scene.cluster.address],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as hog:
        assert hog.stdout is not None
        line = hog.stdout.readline().strip()
        goal = scene.progress() + 640
        scene.come_to(goal, 60)
        hog.kill()
    return line if line.startswith("full") else "the stores were not filled, and nobody knows why"


def starting_worker_stopped(scene: Scene, chance: random.Random) -> str:
    """A rank dies, and one of those that are started in its place hangs before the group of workers is whole."""
    before = scene.workers()
    if not before:
        return "no rank was at work"
    chance.choice(before).kill()
    end = time.monotonic() + LIMIT
    while not (found := [each for each in scene.workers() if each not in before]):
        if scene.running.process.poll() is not None or time.monotonic() > end:
            return "no worker was started again"
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.5))
    chance.choice(found).suspend()
    while "a worker does not start" not in scene.running.output:
        if scene.running.process.poll() is not None or time.monotonic() > end:
            return "a starting worker stopped in its tracks, and nobody noticed"
        time.sleep(0.05)
    return "a starting worker stopped in its tracks"


def head_killed(scene: Scene, chance: random.Random) -> str:
    """The head's machine is gone: the driver ends, the nodes end by themselves, and the next run finds a new head."""
    scene.cluster.head.kill()
    try:
        code = scene.running.wait(LIMIT)
    finally:
        left = nodes_left(scene.cluster)
        scene.orphans += left + scene.running.survivors(70)
        scene.stack.close()
    said = scene.running.output.strip().splitlines()[-1:]
    scene.begin()
    noticed = "" if code and "the head of the cluster at " in " ".join(said) else ", and nobody said so"
    return f"the head killed (exit code {code}, said: {' '.join(said)[:200]}){noticed}"


def nodes_left(cluster: clusters.Cluster) -> list[str]:
    """Nodes that outlive their head for long."""
    end = time.monotonic() + END_OF_NODES
    while any(node.process.poll() is None for node in cluster.nodes) and time.monotonic() < end:
        time.sleep(0.2)
    return [f"{node.name} of a dead head" for node in cluster.nodes if node.process.poll() is None]


FAULTS: dict[str, Callable[[Scene, random.Random], str]] = {
    "node killed": node_killed,
    "preempted": preempted,
    "object store full": store_full,
    "head killed": head_killed,
    "starting worker stopped": starting_worker_stopped,
}


@contextlib.contextmanager
def scene_of(expected: Path, project: Path, spilling: bool) -> Iterator[Scene]:
    fresh(expected, project, "train")
    with contextlib.ExitStack() as stack:
        scene = Scene(project, project / "shared", stack, spilling)
        scene.begin()
        try:
            yield scene
        finally:
            if scene.running.process.poll() is None:
                scene.running.process.kill()


def attack(
    expected: Path, folder: Path, faults: Sequence[str], chance: random.Random, spilling: bool | None = None
) -> list[Injection]:
    """One training on a cluster under these faults, some ticks apart; at its end it has the expected bytes.

    spilling: whether full object stores go on to the disk; drawn where it is not said.
    """
    drawn = chance.random() < 0.5
    done: list[Injection] = []
    expected, project = lengthened(expected), folder / f"cluster-{time.monotonic_ns()}"
    with scene_of(expected, project, drawn if spilling is None else spilling) as scene:
        for fault in faults:
            if not scene.come_to(max(0, scene.progress()) + TICK * chance.randint(1, 4)):
                break
            time.sleep(chance.uniform(0, 0.5))
            injection = Injection(f"cluster: {fault}")
            began = time.monotonic()
            try:
                injection.said = FAULTS[fault](scene, chance)
            except subprocess.TimeoutExpired:
                injection.hung, injection.said = True, f"{fault}: it hung"
            # The cost: of striking, as far as somebody had to be waited for, and of the standstill that followed.
            injection.seconds = time.monotonic() - began
            injection.seconds += standstill(scene.running, scene.progress, LIMIT, 4 * TICK)
            done.append(injection)
        code = within(scene.running, done[-1:])
        if code:
            for injection in done:
                injection.said += f"; {scene.running.output[-300:]}"
            scene.running = stage(project, "train", scene.cluster.environment)
            code = within(scene.running, done[-1:])
        scene.orphans += scene.running.survivors(70)
    verify(project, done, [checkout.hashes(expected, *SAME)], scene.orphans, code)
    return done
