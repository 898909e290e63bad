"""Weak scaling to 8, 64 and 512 GPUs of BigGAN at 128 px and StyleGAN2 at 256 px: the tables of docs/scale.md.

    python tests/bench/scale.py              prints them
    python tests/bench/scale.py --write      puts them into docs/scale.md, between its markers

Counted on the meta device, measured by scale_measure.py, published or assumed in scale_machines.py, and put
together by scale_simulation.py.
"""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import scale_inputs as inputs
import scale_simulation as simulation
from scale_counts import count_preset
from scale_inputs import table
from scale_machines import A100, GIGA, H100, HOUR
from scale_plan import MODELS, SCHEMES, SIZES, Model, Plan, changed, tree
from scale_simulation import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
SHOWN = tuple(part for part in simulation.PARTS if part not in ("fetch", "read", "copy"))


@functools.cache
def outcome(planned: Callable[[Model, int], Plan], model: Model, gpus: int) -> Outcome:
    """A plan, simulated once."""
    return simulation.simulate(planned(model, gpus))


# --- tables -----------------------------------------------------------------------------------


def scaling() -> str:
    """Both models at every size, by each scheme, and the first bottleneck."""
    each = [f"{scheme}: {what}" for scheme in SCHEMES for what in ("examples/s", "efficiency", "first bottleneck")]
    rows: list[list[str]] = []
    for model, gpus in product(MODELS, (1, *SIZES)):
        cells = [f"{model.title}, {gpus}", f"{model.lane * gpus:,}"]
        for planned in SCHEMES.values():
            found, alone = outcome(planned, model, gpus), outcome(planned, model, 1)
            cells += [f"{found.rate:,.0f}", f"{simulation.efficiency(found, alone):.0%}", found.bottleneck]
        rows.append(cells)
    return table(("model, GPUs", "batch", *each), rows)


def breakdown() -> str:
    """Where the time of a whole run goes, in percent, and the hours it takes."""
    rows: list[list[str]] = []
    for model, gpus, (scheme, planned) in product(MODELS, SIZES, SCHEMES.items()):
        found = outcome(planned, model, gpus)
        shown = [f"{100 * found.share(part):.0f}" for part in SHOWN]
        other = 100 * (1 - sum(found.share(part) for part in SHOWN))
        rows.append([f"{model.title}, {gpus}, {scheme}", *shown, f"{abs(other):.0f}", f"{found.seconds / HOUR:.1f}"])
    return table(("model, GPUs, scheme", *SHOWN, "reading", "hours"), rows)


def published_batch() -> str:
    """BigGAN at its own batch of 2,048 on every size: the same training, faster."""
    rows: list[tuple[str, ...]] = []
    for gpus, lane, lanes in ((8, 32, 8), (64, 32, 1), (512, 4, 1)):
        cells = [f"{gpus}", f"{lane}", f"{lane * lanes}"]
        for planned in SCHEMES.values():
            counted = count_preset("biggan", "imagenet128", lane)
            found = simulation.simulate(replace(planned(MODELS[0], gpus), counted=counted, lanes=lanes))
            cells += [f"{found.rate:,.0f}", found.bottleneck]
        rows.append(tuple(cells))
    each = [f"{scheme}: {what}" for scheme in SCHEMES for what in ("examples/s", "first bottleneck")]
    return table(("GPUs", "examples a lane", "a GPU", *each), rows)


VARIATIONS: tuple[tuple[str, Callable[[Plan], Plan]], ...] = (
    ("as above", lambda plan: plan),
    ("nodes of 8 H100, 3,200 Gb/s", lambda plan: replace(plan, machine=H100)),
    ("100 Gb/s a node", lambda plan: replace(plan, machine=replace(A100, far=12.5 * GIGA))),
    ("GPUs reach 0.75 of the roofline", lambda plan: _assume(plan, share=0.75)),
    ("storage gives a node 0.1 GB/s", lambda plan: _assume(plan, fetch=0.1 * GIGA)),
    ("shards fetched and decoded as needed", lambda plan: replace(plan, reading="shards")),
    ("a tick every step", lambda plan: _assume(plan, tick=1)),
    ("spot: each node is lost once a day", lambda plan: _assume(plan, mtbf=24 * HOUR)),
)


def _assume(plan: Plan, **keys: float) -> Plan:
    return replace(plan, assumed=replace(plan.assumed, **keys))


def variations(planned: Callable[[Model, int], Plan]) -> str:
    """Efficiency against one GPU of the same variation, and the first bottleneck, where one assumption is another."""
    rows: list[list[str]] = []
    for name, vary in VARIATIONS:
        cells = [name]
        for model in MODELS:
            alone = simulation.simulate(vary(planned(model, 1)))
            for gpus in SIZES:
                found = simulation.simulate(vary(planned(model, gpus)))
                cells.append(f"{simulation.efficiency(found, alone):.0%} {found.bottleneck}")
        rows.append(cells)
    return table(("assumption", *(f"{model.title}, {gpus}" for model in MODELS for gpus in SIZES)), rows)


TABLES: dict[str, Callable[[], str]] = {
    "counts": inputs.counts,
    "measured": inputs.measured,
    "assumed": inputs.assumed,
    "shares": inputs.shares,
    "scaling": scaling,
    "breakdown": breakdown,
    "published batch": published_batch,
    "variations": lambda: variations(tree),
    "variations changed": lambda: variations(changed),
}


# --- the page ---------------------------------------------------------------------------------


def between(name: str) -> re.Pattern[str]:
    """A table's markers, and what stands between them; never another marker."""
    return re.compile(rf"(<!-- table: {name} -->\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with every table that it has markers for."""
    for name, make in TABLES.items():
        if between(name).search(page):
            made = make()
            page = between(name).sub(rf"\g<1>{made}\n\g<2>", page)
    return page


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text()))
        return
    for name, make in TABLES.items():
        print(f"{name}\n\n{make()}\n")


if __name__ == "__main__":
    main()
