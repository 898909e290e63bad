"""Beyond these machines, part 6: a run simulated turn by turn on so many GPUs, then over its failures.

Time is divided into PARTS, one after the other as the loop does them: it reads, draws, computes, sums over ranks
and updates without overlap. A turn ends for all when the slowest rank has computed; a step's turns are the
family's phases that are due. The whole run is as many such steps as its examples need, after a start and
between failures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scale_costs as costs
from numpy.typing import NDArray
from scale_counts import PhaseCount
from scale_plan import Plan

PARTS = (
    "start", "fetch", "read", "draw", "copy", "compute", "stragglers", "reduction", "update", "tick", "checkpoint",
    "failures",
)  # fmt: skip
STEPS = 400  # simulated: a multiple of a tick and of every lazy interval, the second half behind the filling of caches
SMALL = 0.05  # of the time: below it, a part is no bottleneck
ENOUGH = 20_000  # failures: a run that has met so many is given up


@dataclass(frozen=True)
class Outcome:
    """Seconds of the whole run by part, and what it comes to. Where failures outrun progress, the time is infinite."""

    plan: Plan
    parts: Mapping[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    @property
    def rate(self) -> float:
        """Examples a second over the whole run."""
        return self.plan.run / self.seconds

    def share(self, part: str) -> float:
        """Of the run's time."""
        return self.parts[part] / self.seconds if math.isfinite(self.seconds) else float(part == "failures")

    @property
    def bottleneck(self) -> str:
        """The part beside computing that takes most, or `compute` where none takes a twentieth."""
        most = max((part for part in PARTS if part != "compute"), key=self.share)
        return most if self.share(most) >= SMALL else "compute"


def simulate(plan: Plan, seed: int = 0) -> Outcome:
    """The whole run; equal plans and seeds give equal seconds."""
    source = np.random.default_rng(seed)
    window = _window(plan, source)
    steps = math.ceil(plan.run / plan.batch)
    once, later = window[: STEPS // 2].sum(axis=0), window[STEPS // 2 :].mean(axis=0)
    column = PARTS.index("fetch")
    seconds = dict(zip(PARTS, window.mean(axis=0) * steps, strict=True))
    # Caches fill once; what is fetched afterwards, because they are too small, is fetched all the time.
    seconds["fetch"] = float(once[column] + later[column] * max(steps - STEPS // 2, 0))
    seconds["start"] = first_start(plan)
    work = sum(seconds[part] for part in PARTS if part not in ("start", "checkpoint", "failures"))
    saves = work / plan.assumed.checkpoint
    seconds["checkpoint"] = saves * save_seconds(plan)
    seconds["failures"] = failures(plan, work, source)
    return Outcome(plan, {part: float(seconds[part]) for part in PARTS})


def efficiency(outcome: Outcome, alone: Outcome) -> float:
    """Examples a second of each GPU, against those of one alone."""
    return outcome.rate / outcome.plan.gpus / (alone.rate / alone.plan.gpus)


# --- a step -----------------------------------------------------------------------------------


def _window(plan: Plan, source: np.random.Generator) -> NDArray[np.float64]:
    """Seconds of STEPS steps by part: (steps, parts)."""
    times = np.zeros((STEPS, len(PARTS)))
    caches = Caches(plan, source)
    for number, row in enumerate(times):
        spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        for phase in plan.counted.phases:
            for _ in range(phase.repeats if number % phase.every == 0 else 0):
                _turn(plan, phase, spent, caches, source)
        spent["update"] += 12 * plan.counted.averaged / (plan.machine.memory * plan.assumed.share)
        if (number + 1) % plan.assumed.tick == 0:
            spent["tick"] += parity_seconds(plan)
        row[:] = [spent[part] for part in PARTS]
    return times


def _turn(plan: Plan, phase: PhaseCount, spent: dict[str, float], caches: Caches, source: np.random.Generator) -> None:
    """One turn of a phase on all ranks, into the seconds spent."""
    counted, host, assumed = plan.counted, plan.host, plan.assumed
    mine = counted.lane * plan.lanes
    if phase.fresh:
        spent["fetch"] += caches.read()
        each = plan.data.take_seconds if plan.reading == "decoded" else plan.data.decode_seconds
        # Every rank sorts every epoch's order, and takes its rows of it.
        spent["read"] += mine * each + plan.batch * host.order_seconds
        spent["copy"] += mine * counted.example / plan.machine.host
    # Every rank draws the global batch's latents; what a lane draws for itself is its own.
    noise, computing = plan.batch * counted.latents, plan.lanes * costs.compute(phase, plan.machine, assumed)
    drawing = (noise + phase.drawn * plan.lanes) * host.draw_seconds
    spent["draw"] += max(drawing - computing, 0) if plan.ahead else drawing
    spent["copy"] += (4 * noise + phase.copied * plan.lanes) / plan.machine.host
    times = computing * source.lognormal(-(assumed.spread**2) / 2, assumed.spread, plan.gpus)
    spent["compute"] += float(times.mean())
    spent["stragglers"] += float(times.max() - times.mean())
    links = costs.links(plan.machine, plan.gpus, assumed)
    spent["reduction"] += costs.REDUCTIONS[plan.reduction](4 * phase.message, links)
    spent["update"] += costs.update(phase, plan.machine, assumed)


class Caches:
    """Which shards each node holds; the order is one permutation of all examples, so nodes meet all shards."""

    def __init__(self, plan: Plan, source: np.random.Generator) -> None:
        self.plan = plan
        self.source = source
        data = plan.data
        self.used = np.zeros((plan.nodes, data.shards), dtype=np.int64)  # the last read, 0: not held
        self.clock = 0
        self.held = max(1, min(data.shards, int(min(plan.disk / (data.stored * data.shard), 1e9))))

    def read(self) -> float:
        """Seconds until the slowest node has the shards that a batch's rows lie in; least recently used ones go."""
        plan, data = self.plan, self.plan.data
        if plan.reading == "decoded":
            return 0.0
        self.clock += 1
        rows = plan.batch // plan.nodes
        wanted = np.zeros_like(self.used, dtype=bool)
        for node in range(plan.nodes):
            wanted[node, self.source.integers(0, data.shards, rows)] = True
        missing = int((wanted & (self.used == 0)).sum(axis=1).max())
        self.used[wanted] = self.clock
        for row in self.used:
            surplus = int((row > 0).sum()) - self.held
            if surplus > 0:
                held = np.flatnonzero(row)
                row[held[np.argsort(row[held], kind="stable")[:surplus]]] = 0
        return missing * data.shard * data.stored / plan.fetch_rate


# --- what happens now and then ------------------------------------------------------------------


def parity_seconds(plan: Plan) -> float:
    """A tick: the weights to the CPU, and their hash, on every rank at once."""
    return plan.counted.weights / plan.machine.host + plan.counted.weights / plan.host.parity_rate


def save_seconds(plan: Plan) -> float:
    """A checkpoint: rank 0 writes, all wait."""
    return plan.counted.checkpoint / plan.machine.host + plan.counted.checkpoint / plan.host.save_rate


def first_start(plan: Plan) -> float:
    """Seconds before the first step on nodes that hold nothing: fetch, decode, and verify what was decoded."""
    if plan.reading == "shards":
        return 0.0
    data, decoded = plan.data, plan.data.examples * plan.counted.example
    fetched = data.examples * data.stored
    decoding = data.examples * data.decode_seconds / plan.assumed.decoders
    return fetched / plan.fetch_rate + fetched / plan.host.sha256_rate + decoding + 2 * decoded / plan.host.sha256_rate


def restart(plan: Plan) -> float:
    """Seconds from a failure to the next step: a new node takes the failed one's place and starts with nothing."""
    return plan.assumed.detection + first_start(plan) + 2 * plan.counted.checkpoint / plan.host.load_rate


def failures(plan: Plan, work: float, source: np.random.Generator, runs: int = 64) -> float:
    """Seconds lost to failures over `work` seconds of steps, the mean of runs; infinite where they outrun progress."""
    lost = 0.0
    for _ in range(runs):
        lost += _lost(plan, work, source) / runs
        if math.isinf(lost):
            break
    return lost


def _lost(plan: Plan, work: float, source: np.random.Generator) -> float:
    """One run, from failure to failure: what was done since the last checkpoint is lost, and so is the restart."""
    interval, again = plan.assumed.checkpoint, restart(plan)
    saved = lost = waiting = 0.0
    for _ in range(ENOUGH):
        left = float(source.exponential(plan.assumed.mtbf / plan.nodes))
        if left < waiting:  # a node has failed while all wait for another to begin
            lost += left
            continue
        lost, left = lost + waiting, left - waiting
        if left >= work - saved:
            return lost
        kept = left // interval * interval
        saved, lost, waiting = saved + kept, lost + left - kept, again
    return math.inf
