"""What eight steps of a family come to: every part of every objective, gradient norms, and its weights in two numbers.

`make golden` writes them again for all families, or for those named: `make golden FAMILIES="dcgan r3gan"`. A change
that keeps the numerics keeps these numbers; a commit that changes them says why. A new family needs nothing but its
file: it plays at its preset `smoke`, on data of the kind that it was published for, made small.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import games
import torch
from designs import data_for
from torch import nn

from pipeline import plugins
from pipeline.contract import AnyFamily, MemoryReporter
from pipeline.types import DataSpec

HERE = Path(__file__).parent / "numbers"
STEPS = 8
BATCH = 16
TIMES = {"time", "examples_per_second", "eta_seconds"}
EXACT = (1e-5, 1e-6)  # relative and absolute, on a processor of the kind that the numbers are of
# On others float32 is summed in another order, and a GAN multiplies what differs from step to step: after eight steps
# without AVX the largest difference is 10 % (stylegan, a gradient norm), in the second 0.6 % (cyclegan).
FIRST, GROWTH, FAR = 2e-3, 5.0, (0.25, 0.2)


def measured(name: str) -> dict[str, Any]:
    """The records of the family's first steps, and its weights after them."""
    family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke"})
    spec = data_for(name, classes=("a", "b", "c") if family.conditional else ())
    step = _played(family, spec, BATCH).ticks[0]["examples_seen"]  # a step may read several batches
    reporter = _played(family, spec, int(step or BATCH) * STEPS)
    return {
        "processor": processor(),
        "spec": spec.to_json(),
        "steps": [_rounded(tick) for tick in reporter.ticks],
        "weights": reporter.weights,
    }


def processor() -> dict[str, str]:
    """The kind of processor, as far as it decides how float32 is summed."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    vendor = next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
    return {"capability": torch.backends.cpu.get_cpu_capability(), "vendor": vendor}


class _Weighed(MemoryReporter):
    weights: dict[str, dict[str, float]]


def _played(family: AnyFamily, spec: DataSpec, examples: int) -> _Weighed:
    reporter = _Weighed()
    with tempfile.TemporaryDirectory() as folder:
        ended = games.train(
            family, spec, Path(folder), reporter=reporter, examples=examples, tick=BATCH, checkpoint=examples,
            grid=examples, batch_size=BATCH,
        )  # fmt: skip
    reporter.weights = {key: weighed(network) for key, network in sorted(ended.networks.items())}
    return reporter


def weighed(network: nn.Module) -> dict[str, float]:
    """The averaged weights' norm, and their product with fixed random numbers, which tells one order from another."""
    held = [value.detach().double().flatten() for _, value in sorted(network.state_dict().items())]
    flat = torch.cat([torch.zeros(0, dtype=torch.float64), *held])
    drawn = torch.randn(len(flat), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return {"norm": _short(float(flat.norm())), "product": _short(float(flat @ drawn)), "count": len(flat)}


def _rounded(tick: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in sorted(tick.items()) if key not in TIMES}
    return {key: _short(value) if isinstance(value, float) else value for key, value in kept.items()}


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def differences(found: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """Where two measurements differ by more than their processors explain."""
    same = found["processor"] == kept["processor"]
    lines = [] if found["spec"] == kept["spec"] else ["spec"]
    if len(found["steps"]) != len(kept["steps"]):
        return [*lines, f"{len(found['steps'])} records, and there were {len(kept['steps'])}"]
    for number, (one, other) in enumerate(zip(found["steps"], kept["steps"], strict=True)):
        near = EXACT if same else (min(FIRST * GROWTH**number, FAR[0]), min(FIRST * GROWTH**number, FAR[1]))
        lines += _apart(one, other, f"steps[{number}]", near)
    for name in sorted({*found["weights"], *kept["weights"]}):
        one, other = (each["weights"].get(name, {}) for each in (found, kept))
        lines += _apart(one, other, f"weights/{name}", EXACT if same else FAR)
    return lines


def _apart(found: Mapping[str, Any], kept: Mapping[str, Any], where: str, near: tuple[float, float]) -> list[str]:
    relative, absolute = near
    lines: list[str] = []
    for name in sorted({*found, *kept}):
        one, other = found.get(name), kept.get(name)
        if isinstance(one, float) and isinstance(other, float):
            same = abs(one - other) <= absolute + relative * abs(other)
        else:
            same = one == other
        if not same:
            lines.append(f"{where}/{name}: {one}, and it was {other}")
    return lines


def main(names: list[str]) -> None:
    """Write the numbers of these families, or of all."""
    HERE.mkdir(exist_ok=True)
    for name in names or plugins.names("families"):
        (HERE / f"{name}.json").write_text(json.dumps(measured(name), indent=1) + "\n", encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
