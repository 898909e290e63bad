"""What 8, 64 and 512 GPUs would do with BigGAN at 128 px and StyleGAN2 at 256 px: the tables of docs/scale.md.

    python tests/bench/scale.py              prints the tables
    python tests/bench/scale.py --write      writes them into docs/scale.md, between its markers
    python tests/bench/scale.py --measure    measures this CPU (two minutes): the content of scale_measured.json

Operators, bytes and messages are counted on the meta device. CPU rates are measured. What is published or assumed is in
scale_stated.json, with its source. `seconds` adds all up by closed formulas.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pipeline import plugins
from pipeline.contract import AnyFamily, Phase, State, Turn, draw_latents

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
MEASURED = json.loads(Path(__file__).with_name("scale_measured.json").read_text())
STATED = json.loads(Path(__file__).with_name("scale_stated.json").read_text())
UNITS = {
    "TFLOP/s": 1e12, "TB/s": 1e12, "GB/s": 1e9, "million/s": 1e6, "/s": 1, "kB": 1e3,
    "%": 0.01, "µs": 1e-6, "s": 1, "min": 60, "days": 86_400, "steps": 1,
}  # fmt: skip
NODE, SIZES = 8, (8, 64, 512)  # GPUs
PARTS = ("start", "draw", "compute", "stragglers", "reduction", "update", "tick", "checkpoint", "failures", "reading")
# `changed` has the two changes that docs/scale.md recommends; 48 is half of the virtual cores of a p4d.24xlarge.
SCHEMES: dict[str, dict[str, Any]] = {"tree": {}, "fast": {"fast": True}, "changed": {"ahead": True, "decoders": 48}}

Kernel = tuple[int, int, bool]  # an operator's FLOP, the bytes that it reads and writes, whether it is a convolution
Inputs = dict[str, float]
MODELS: list[dict[str, Any]] = STATED["models"]


def inputs(machine: str = "value", **other: float) -> Inputs:
    """Everything measured and stated, in SI units; of another machine than the A100, and some of it replaced."""
    rows = MEASURED["numbers"] | STATED["numbers"]
    return {key: row.get(machine, row["value"]) * UNITS[row["unit"]] for key, row in rows.items()} | other


class Plan(NamedTuple):
    """A row of MODELS on `gpus` GPUs, a power of two, with `lanes` lanes each.

    ahead: the CPU draws noise while the GPU computes the turn before. decoders: processes of a node that decode data.
    """

    model: dict[str, Any]
    gpus: int
    fast: bool = False
    ahead: bool = False
    decoders: int = 1
    lanes: int = 1
    given: Inputs = inputs()

    @property
    def batch(self) -> int:
        return self.model["lane"] * self.lanes * self.gpus


# --- counted ----------------------------------------------------------------------------------


class PhaseCount(NamedTuple):
    """One turn on one lane. drawn: numbers that the objective draws on the CPU. message: numbers that ranks sum."""

    name: str
    every: int
    fresh: bool
    kernels: Counter[Kernel]
    drawn: int
    parameters: int
    message: int


class Counted(NamedTuple):
    """A preset. latents: numbers an example. averaged: numbers. weights, checkpoint: bytes."""

    phases: list[PhaseCount]
    latents: int
    averaged: int
    weights: int
    checkpoint: int


class Recorder(TorchDispatchMode):
    """Every operator that runs inside: kernels on the meta device, and how many numbers are drawn on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[Kernel] = Counter()
        self.drawn = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read, made = ([t for t in tree_leaves(tree) if isinstance(t, Tensor)] for tree in ((args, kwargs), out))
        packet, name = func.overloadpacket, str(func.overloadpacket).removeprefix("aten.")
        if not any(t.is_meta for t in made):
            self.drawn += sum(t.numel() for t in made) if name.startswith(("rand", "normal")) else 0
        elif not func.is_view and all(t.is_meta or not t.dim() for t in read):  # the others copy to the device
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out) if packet in flop_registry else 0
            self.kernels[flops, sum(t.nbytes for t in (*read, *made)), "convolution" in name] += 1
        return out


@functools.cache
def count(name: str, preset: str, lane: int) -> Counted:
    """A published preset without its augmentation, on the data it was published for; nothing is allocated."""
    module: Any = importlib.import_module(f"pipeline.families.{name}")
    plain = {"augment": None} if "augment" in module.Config.model_fields else {}
    family = cast(AnyFamily, plugins.load("families", {"name": name, "preset": preset, **plain}))
    spec = module.CANON[preset].spec
    with torch.device("meta"):
        networks = family.build(spec)
        data = {"x": torch.zeros((lane, *spec.shape)), "label": torch.zeros(lane, dtype=torch.int64)}
    noise = draw_latents(family.latents_for(spec), lane, torch.Generator().manual_seed(0))
    latents = {name: values.to("meta") for name, values in noise.items()}
    state = State(seed=0, tensors={name: value.to("meta") for name, value in family.state(spec).items()})

    def phase_count(phase: Phase) -> PhaseCount:
        assert phase.repeats == 1, f"{name}: several turns of a phase in a step are not counted"
        (names,) = (player.networks for player in family.players() if player.name == phase.player)
        owned = [parameter for name in names for parameter in networks[name].parameters()]
        batch: Any = {key: data[key] for key in family.needs if phase.batch != "none"}
        with Recorder() as seen:
            parts = phase.objective(Turn(networks, batch, latents, state, lane=0, phase=phase.name))
            torch.autograd.grad(parts["total"], owned, allow_unused=True)
        size = numbers(owned)
        training = [network for name, network in networks.items() if name not in phase.evaluating]
        buffers = numbers(b for network in training for b in network.buffers() if b.is_floating_point())
        message = size + buffers + len(parts)
        return PhaseCount(phase.name, phase.every, phase.batch == "fresh", seen.kernels, seen.drawn, size, message)

    everything = nn.ModuleDict(networks)
    averaged = numbers(p for name in family.averaged for p in networks[name].parameters())
    weights = sum(t.nbytes for t in everything.state_dict().values())
    checkpoint = weights + 4 * averaged + 8 * numbers(everything.parameters())  # with Adam's two moments
    an_example = sum(math.prod(latent.shape) for latent in family.latents_for(spec))
    return Counted([phase_count(phase) for phase in family.phases()], an_example, averaged, weights, checkpoint)


def numbers(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() for t in tensors)


# --- formulas ---------------------------------------------------------------------------------


def halving(size: float, gpus: int, s: Inputs) -> float:
    """Seconds of `reduction: tree`, recursive halving and doubling (Rabenseifner 2004).

    Round k swaps 1/2^k of `size` bytes with the rank 2^(k-1) away, and again on the way back. Ranks fill a node first,
    and all of a node share its way out.
    """
    rounds, inside = int(math.log2(gpus)), int(math.log2(NODE))
    near = [s["near_wait"] + size / 2 ** (k + 1) / (s["near"] * s["near_share"]) for k in range(min(rounds, inside))]
    far = [s["far_wait"] + NODE * size / 2 ** (k + 1) / (s["far"] * s["far_share"]) for k in range(inside, rounds)]
    return 2 * sum(near + far)


def ring(size: float, gpus: int, s: Inputs) -> float:
    """Seconds of `reduction: fast`: 2(n-1)/n of `size` bytes over the slowest link of a ring."""
    nodes = math.ceil(gpus / NODE)  # each of which the ring leaves once
    slowest = s["near"] * s["near_share"] if nodes == 1 else min(s["near"] * s["near_share"], s["far"] * s["far_share"])
    waits = (gpus - nodes) * s["near_wait"] + (nodes - 1) * s["far_wait"]
    return 2 * (gpus - 1) / gpus * size / slowest + 2 * waits


def roofline(phase: PhaseCount, s: Inputs) -> float:
    """Seconds of a turn at the GPU's peaks: of every operator the longer of arithmetic and memory traffic."""
    peaks = {True: s["convolution"], False: s["matrix"]}
    return sum(n * max(flops / peaks[conv], size / s["memory"]) for (flops, size, conv), n in phase.kernels.items())


def straggling(spread: float, ranks: int) -> float:
    """How much longer than the mean the slowest rank takes, of lognormal times; the maximum by Blom's approximation."""
    return math.exp(spread * statistics.NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25))) - 1


def lost_to_failures(work: float, interval: float, restart: float, rate: float) -> float:
    """Seconds lost over `work`, with `rate` failures a second (Daly 2006).

    Each costs what was done since the last checkpoint, and a restart, during which the next may come.
    """
    return work * (math.exp(rate * restart) * math.expm1(rate * interval) / (rate * interval) - 1)


def seconds(plan: Plan) -> dict[str, float]:
    """A whole run by PARTS, which follow each other as in the loop: it overlaps none of them."""
    model, s, side = plan.model, plan.given, plan.model["side"]
    counted = count(model["family"], model["preset"], model["lane"])
    step: Counter[str] = Counter(dict.fromkeys(PARTS, 0))
    for phase in counted.phases:
        computing = plan.lanes * max(roofline(phase, s) / s["share"], phase.kernels.total() * s["launch"])
        # Every rank draws the latents of the whole batch, and what its own lanes ask for.
        drawing = (plan.batch * counted.latents + phase.drawn * plan.lanes) / s["draws"]
        taking = model["lane"] * plan.lanes / s[f"taken_{side}"] + plan.batch / s["orders"]
        turn = {
            "draw": max(drawing - computing, 0) if plan.ahead else drawing,
            "compute": computing,
            "stragglers": computing * straggling(s["spread"], plan.gpus),
            "reduction": (ring if plan.fast else halving)(4 * phase.message, plan.gpus, s),
            # Adam reads four numbers of each parameter and writes three; gradients are flattened and scaled.
            "update": 4 * (7 * phase.parameters + 4 * phase.message) / (s["memory"] * s["share"]),
            "reading": taking if phase.fresh else 0,
        }
        step.update({part: each / phase.every for part, each in turn.items()})  # a Counter's update adds
    step["update"] += 12 * counted.averaged / (s["memory"] * s["share"])
    step["tick"] += counted.weights / s["parity"] / s["tick"]
    run = {part: model["run"] / plan.batch * each for part, each in step.items()}
    work = sum(run.values())
    # A node fetches all shards, verifies them, decodes them, and verifies twice what it decoded.
    stored, decoded = model["examples"] * s[f"stored_{side}"], model["examples"] * 3 * side**2
    decoding = model["examples"] / s[f"decoded_{side}"] / plan.decoders
    run["start"] = stored / s["fetch"] + (stored + 2 * decoded) / s["sha256"] + decoding
    run["checkpoint"] = work / s["interval"] * counted.checkpoint / s["save"]
    restart = s["detection"] + run["start"] + 2 * counted.checkpoint / s["load"]
    run["failures"] = lost_to_failures(work, s["interval"], restart, math.ceil(plan.gpus / NODE) / s["mtbf"])
    return run


def rate(plan: Plan) -> float:
    """Examples a second over the whole run."""
    return plan.model["run"] / sum(seconds(plan).values())


def efficiency(plan: Plan) -> str:
    """A GPU's rate against that of one GPU alone."""
    return f"{rate(plan) / plan.gpus / rate(plan._replace(gpus=1)):.0%}"


def bottleneck(plan: Plan) -> str:
    """The part beside computing that takes most, or `compute` where none takes 5 %."""
    run = seconds(plan)
    most = max((part for part in PARTS if part != "compute"), key=lambda part: run[part])
    return most if run[most] >= 0.05 * sum(run.values()) else "compute"


# --- tables -----------------------------------------------------------------------------------


def compared(cases: dict[str, Plan]) -> list[list[str]]:
    """Rate, efficiency and first bottleneck by each scheme."""
    rows = [["GPUs", *(f"{scheme}: {what}" for scheme in SCHEMES for what in ("examples/s", "efficiency", "first"))]]
    for name, case in cases.items():
        plans = [case._replace(**scheme) for scheme in SCHEMES.values()]
        rows.append([name, *(cell for p in plans for cell in (f"{rate(p):,.0f}", efficiency(p), bottleneck(p)))])
    return rows


def scaling() -> list[list[str]]:
    """Both models at every size: each GPU keeps its lane, and the batch grows."""
    plans = [Plan(model, gpus) for model, gpus in product(MODELS, (1, *SIZES))]
    return compared({f"{p.model['title']}, {p.gpus} GPU, batch {p.batch:,}": p for p in plans})


def published_batch() -> list[list[str]]:
    """BigGAN at its own batch of 2,048 on every size."""
    plans = [Plan(MODELS[0] | {"lane": a}, gpus, lanes=b) for gpus, a, b in ((8, 32, 8), (64, 32, 1), (512, 4, 1))]
    return compared({f"{p.gpus} GPU, {p.lanes} × {p.model['lane']} each": p for p in plans})


def breakdown() -> list[list[str]]:
    """Where the time of a whole run goes, in percent, and its hours."""
    rows = [["model, GPUs, scheme", *PARTS, "hours"]]
    for model, gpus, scheme in product(MODELS, SIZES, ("tree", "changed")):
        run = seconds(Plan(model, gpus, **SCHEMES[scheme]))
        total = sum(run.values())
        shares = [f"{100 * run[part] / total:.0f}" for part in PARTS]
        rows.append([f"{model['title']}, {gpus}, {scheme}", *shares, f"{total / 3600:.1f}"])
    return rows


def variations() -> list[list[str]]:
    """Efficiency and first bottleneck of today's code where an input is otherwise."""
    others = {
        "as above": inputs(),
        "nodes of 8 H100, 3,200 Gb/s": inputs("H100"),
        "100 Gb/s a node": inputs(far=12.5e9),
        "GPUs reach 75 % of the roofline": inputs(share=0.75),
        "a tick every step": inputs(tick=1),
        "spot: each node is lost once a day": inputs(mtbf=86_400),
    }
    rows = [["otherwise", *(f"{model['title']}, {gpus}" for model, gpus in product(MODELS, SIZES))]]
    for name, given in others.items():
        plans = [Plan(model, gpus, given=given) for model, gpus in product(MODELS, SIZES)]
        rows.append([name, *(f"{efficiency(p)} {bottleneck(p)}" for p in plans)])
    return rows


def counts() -> list[list[str]]:
    """What a turn asks for, from the modules themselves."""
    rows = [["model, phase", "every", "parameters", "message, MB", "GFLOP an example", "GB an example", "operators"]]
    for model in MODELS:
        for phase in count(model["family"], model["preset"], model["lane"]).phases:
            flops, moved = (
                sum(kernel[i] * n for kernel, n in phase.kernels.items()) / model["lane"] / 1e9 for i in (0, 1)
            )
            cells = [f"{4e-6 * phase.message:.1f}", f"{flops:.1f}", f"{moved:.2f}", f"{phase.kernels.total():,}"]
            rows.append([f"{model['title']}, {phase.name}", str(phase.every), f"{phase.parameters:,}", *cells])
    return rows


def stated() -> list[list[str]]:
    """All inputs, with their sources."""
    rows = [["input", "value, A100", "V100, H100", f"source; measured: {MEASURED['where']}"]]
    for row in (MEASURED["numbers"] | STATED["numbers"]).values():
        others = f"{row['V100']:g}, {row['H100']:g}" if "H100" in row else ""
        rows.append([row["what"], f"{row['value']:,g} {row['unit']}", others, row.get("by", "measured")])
    return rows


def published() -> list[list[str]]:
    """Published speeds against the roofline of our own counts."""
    rows = [["published", "ms an example and GPU", "our roofline, ms", "share"]]
    for each in STATED["published"]:
        phases = count(each["family"], each["preset"], each["lane"]).phases
        roof = 1e3 * sum(roofline(phase, inputs(each["machine"])) / phase.every for phase in phases) / each["lane"]
        cells = [f"{each['milliseconds']:.1f}", f"{roof:.1f}", f"{roof / each['milliseconds']:.2f}"]
        rows.append([f"{each['what']} ({each['by']})", *cells])
    return rows


TABLES = (scaling, breakdown, published_batch, variations, counts, stated, published)


def markdown(rows: list[list[str]]) -> str:
    """The first row is the head; the first column is text, the others are numbers."""
    lines = [rows[0], ["---", *["---:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(page: str) -> str:
    """The page with each table between its markers."""
    for table in TABLES:
        before, _, rest = page.partition(f"<!-- table: {table.__name__} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        page = f"{before}<!-- table: {table.__name__} -->\n{markdown(table())}\n{end}{after}"
    return page


def main() -> None:
    """Print the tables, write them into the page, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--measure", action="store_true")
    asked = parser.parse_args()
    if asked.measure:
        from scale_measure import measure

        print(json.dumps(measure(), indent=2))
    elif asked.write:
        PAGE.write_text(filled(PAGE.read_text()))
    else:
        print("\n\n".join(f"{table.__name__}\n\n{markdown(table())}" for table in TABLES))


if __name__ == "__main__":
    main()
