"""Beyond these machines, part 4: what the counts cost in seconds, each by a formula that can be checked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scale_counts import PhaseCount
from scale_machines import Assumed, Machine


@dataclass(frozen=True, slots=True)
class Links:
    """How `gpus` speak: `near` bytes a second each way for a GPU inside its node, `far` for a whole node outwards.

    Consecutive ranks fill a node first (`placement: PACK`). waits: seconds before the first byte, near and far.
    """

    gpus: int
    per_node: int
    near: float
    far: float
    near_wait: float = 0.0
    far_wait: float = 0.0

    @property
    def nodes(self) -> int:
        return math.ceil(self.gpus / self.per_node)


def links(machine: Machine, gpus: int, assumed: Assumed) -> Links:
    """The links of so many GPUs of these machines, at the share of the nominal rates that collectives reach."""
    near, far = machine.near * machine.near_share, machine.far * machine.far_share
    return Links(gpus, machine.gpus, near, far, assumed.near_wait, assumed.far_wait)


def exchange(size: float, distance: int, between: Links) -> float:
    """Every rank swaps `size` bytes with the rank `distance` away, a power of two; all of a node share its way out."""
    if distance < between.per_node:
        return between.near_wait + size / between.near
    return between.far_wait + size * min(between.per_node, between.gpus) / between.far


def halving(size: float, between: Links) -> float:
    """`reduction: tree`: recursive halving and doubling (Rabenseifner 2004).

    Round k swaps 1/2^k of the message with the rank 2^(k − 1) away, and again on the way back.
    """
    rounds = range(_rounds(between.gpus))
    return 2 * sum(exchange(size / 2 ** (level + 1), 2**level, between) for level in rounds)


def ring(size: float, between: Links) -> float:
    """`reduction: fast`: all-reduce in a ring, 2(n − 1)/n of the message over the slowest link (Patarasuk & Yuan 2009).

    A ring leaves each node once, so that the node's whole way out is the ring's.
    """
    n = between.gpus
    if n == 1:
        return 0.0
    slowest = between.near if between.nodes == 1 else min(between.near, between.far)
    hops = (n - between.nodes) * between.near_wait + (between.nodes - 1) * between.far_wait
    return 2 * (n - 1) / n * size / slowest + 2 * hops


REDUCTIONS: dict[str, Callable[[float, Links], float]] = {"tree": halving, "fast": ring}


def _rounds(gpus: int) -> int:
    if gpus & (gpus - 1):
        raise ValueError(f"{gpus} GPUs are no power of two, and lanes divide among powers of two alone")
    return gpus.bit_length() - 1


def compute(phase: PhaseCount, machine: Machine, assumed: Assumed) -> float:
    """Seconds of one turn on one lane: the roofline (Williams et al. 2009) of every operator, or the CPU's launches.

    An operator takes as long as its arithmetic or its memory traffic, whichever is longer, at the share
    of the peaks that is assumed to be reached. Eager PyTorch launches while the GPU computes.
    """
    return max(roofline(phase, machine) / assumed.share, phase.launches * assumed.launch)


def roofline(phase: PhaseCount, machine: Machine) -> float:
    """Seconds at the peaks themselves."""
    return sum(
        times
        * max(
            kernel.flops / (machine.convolution if kernel.convolution else machine.matrix),
            kernel.bytes / machine.memory,
        )
        for kernel, times in phase.kernels.items()
    )


def update(phase: PhaseCount, machine: Machine, assumed: Assumed) -> float:
    """Adam, which reads four numbers of each parameter and writes three, and what flattens and scales the gradient."""
    return 4 * (7 * phase.parameters + 4 * phase.message) / (machine.memory * assumed.share)


def lost_to_failures(rate: float, restart: float, interval: float) -> float:
    """Seconds lost for each second of progress, to first order: a restart and half an interval a failure."""
    return rate * (restart + interval / 2)
