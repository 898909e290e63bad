"""Beyond these machines, part 7: the tables of docs/scale.md that say what goes into the simulation."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import scale_costs as costs
from scale_counts import count_preset
from scale_machines import A100, DAY, GIGA, PUBLISHED, TERA, Assumed
from scale_plan import MEASURED, MODELS

NVIDIA, NCCL = "NVIDIA, A100 40 GB", "NVIDIA/nccl issue 527"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def counts() -> str:
    """What a step asks for, from the modules themselves."""
    head = ("model, phase", "every", "parameters", "message, MB", "GFLOP an example", "GB an example", "operators")
    rows = [
        (
            f"{model.title}, {phase.name}",
            str(phase.every),
            f"{phase.parameters:,}",
            f"{4e-6 * phase.message:.1f}",
            f"{phase.flops / model.lane / GIGA:.1f}",
            f"{phase.bytes / model.lane / GIGA:.2f}",
            f"{phase.launches:,}",
        )
        for model in MODELS
        for phase in model.counted.phases
    ]
    return table(head, rows)


def measured() -> str:
    """What scale_measure.py printed: rates that the simulation uses, and how well the forms of the model fit."""
    found: dict[str, Any] = json.loads(MEASURED.read_text())
    rates = found["rates"]
    rows = [
        ("noise drawn", f"{1e-6 / rates['draw_seconds']:,.0f} million numbers/s"),
        ("an epoch put in order", f"{1e9 * rates['order_seconds']:.0f} ns an example"),
        *_reading(found["reading"]),
        ("sha256 of a file", f"{rates['sha256_rate'] / GIGA:.2f} GB/s"),
        ("the parity checksum", f"{rates['parity_rate'] / GIGA:.2f} GB/s"),
        ("a checkpoint written, hashed and synced", f"{rates['save_rate'] / GIGA:.2f} GB/s"),
        ("a checkpoint verified and read", f"{rates['load_rate'] / GIGA:.2f} GB/s"),
        ("an operator of a tiny network, its arithmetic included", f"{1e6 * found['launch_seconds']:.0f} µs"),
        *_fits(found),
    ]
    return table((f"measured: {found['where']}", "value"), rows)


def _reading(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for side, each in found.items():
        stored, decoded, taken = each["stored_bytes"] / 1e3, 1 / each["decode_seconds"], 1 / each["take_seconds"]
        rows += [
            (f"PNG of {side} px, {stored:.0f} kB, decoded from its shard", f"{decoded:,.0f}/s"),
            (f"example of {side} px taken from the decoded cache", f"{taken:,.0f}/s"),
        ]
    return rows


def _fits(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Straight lines through the measurements, and the farthest that one lies from them."""
    rows: list[tuple[str, str]] = []
    for family, each in found["steps"].items():
        line = each["line"]
        formula = f"{line['begin_seconds']:.2f} s + FLOP / {line['rate'] / GIGA:.0f} GFLOP/s"
        what = f"step of {family}'s preset `zoo`, lanes of {each['lanes'][0]} to {each['lanes'][-1]}"
        rows.append((what, f"{formula}, within {line['worst_error']:.0%}"))
    for name in ("exchange", "all_reduce"):
        line = found["exchanges"][name]["line"]
        formula = f"{1e3 * line['begin_seconds']:.2f} ms + bytes / {line['rate'] / GIGA:.1f} GB/s"
        what = f"{name} of two processes by gloo, 16 KiB to 16 MiB"
        rows.append((what, f"{formula}, within {line['worst_error']:.0%}"))
    return rows


def assumed() -> str:
    """What scale_machines.py states."""
    a, gpu = Assumed(), A100
    peaks = f"{gpu.convolution / TERA:.0f} TFLOP/s, {gpu.matrix / TERA:.1f} TFLOP/s"
    near = f"{gpu.near / GIGA:.0f} GB/s, {gpu.near_share:.0%} reached"
    far = f"{gpu.far / GIGA:.0f} GB/s, {gpu.far_share:.0%} reached"
    waits = f"{1e6 * a.near_wait:.0f} µs, {1e6 * a.far_wait:.0f} µs"
    rows = [
        ("convolutions in TF32, other products in float32", peaks, NVIDIA),
        ("GPU memory", f"{gpu.memory / TERA:.3f} TB/s", NVIDIA),
        ("share of its roofline that a phase reaches", f"{a.share}", "assumed, see below"),
        ("NVLink, each way, a GPU", near, f"{NVIDIA}; {NCCL}, 1 node"),
        ("network, each way, a node", far, f"AWS, p4d.24xlarge; {NCCL}, 4 nodes"),
        ("between failures of a node", f"{a.mtbf / DAY:.0f} days", "Meta, Llama 3: 419 in 54 days of 2,048 nodes"),
        ("before the first byte, NVLink, network", waits, "assumed"),
        ("launching an operator from Python", f"{1e6 * a.launch:.0f} µs", "assumed; measured is an upper bound"),
        ("to GPU memory", f"{gpu.host / GIGA:.0f} GB/s", "assumed: PCIe 4"),
        ("storage to a node", f"{a.fetch / GIGA:.0f} GB/s", "assumed: a modest client of S3"),
        ("spread of a rank's time for a turn", f"{a.spread:.0%}", "assumed: lognormal, seeded"),
        ("from a failure until workers run again", f"{a.detection:.0f} s", "assumed; the new node then starts empty"),
        ("a checkpoint every, a tick every", f"{a.checkpoint / 60:.0f} min, {a.tick} steps", "chosen"),
    ]
    return table(("stated", "value", "by whom"), rows)


def shares() -> str:
    """Published speeds against the roofline of our own counts."""
    rows: list[tuple[str, ...]] = []
    for each in PUBLISHED:
        counted = count_preset(each.family, each.preset, each.lane)
        roof = 1e3 * counted.per_step(functools.partial(costs.roofline, machine=each.machine)) / each.lane
        published = f"{each.milliseconds:.1f}"
        rows.append((f"{each.what} ({each.by})", published, f"{roof:.1f}", f"{roof / each.milliseconds:.2f}"))
    return table(("published", "ms an example and GPU", "our roofline, ms", "share"), rows)
