"""Beyond these machines, part 5: what is trained on what: the plans that scale.py has simulated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from scale_counts import Counted, count_preset
from scale_machines import A100, Assumed, Machine

MEASURED = Path(__file__).with_name("scale_measured.json")
SIZES = (8, 64, 512)
DECODERS = 48  # processes: half of the virtual cores of a p4d.24xlarge


@dataclass(frozen=True)
class Host:
    """A core's rates, as scale_measure.py prints them: seconds a number or example, bytes a second."""

    draw_seconds: float
    order_seconds: float
    sha256_rate: float
    parity_rate: float
    save_rate: float
    load_rate: float


@dataclass(frozen=True)
class Data:
    """A data set: examples, the bytes of one in its shards, a core's seconds to decode one, and to take one decoded."""

    examples: int
    stored: float
    decode_seconds: float
    take_seconds: float
    shard: int = 1024

    @property
    def shards(self) -> int:
        return math.ceil(self.examples / self.shard)


@dataclass(frozen=True)
class Plan:
    """What is trained, and on what.

    lanes: of `counted.lane` examples that each GPU works through in a step. run: examples of the whole run.
    reading: `decoded`, every node decodes all the data before the first step; `shards`, a node fetches a shard
    when it first needs an example of it, keeps at most `disk` bytes of them, and decodes in the step. ahead: the
    CPU draws a turn's noise while the GPU computes the turn before, which no key forbids and the loop does not do.
    """

    counted: Counted
    data: Data
    run: int
    machine: Machine
    gpus: int
    host: Host
    reduction: str = "tree"
    lanes: int = 1
    reading: Literal["decoded", "shards"] = "decoded"
    disk: float = float("inf")
    ahead: bool = False
    assumed: Assumed = field(default_factory=Assumed)

    @property
    def batch(self) -> int:
        return self.counted.lane * self.lanes * self.gpus

    @property
    def nodes(self) -> int:
        return math.ceil(self.gpus / self.machine.gpus)

    @property
    def fetch_rate(self) -> float:
        return min(self.assumed.fetch, self.assumed.storage / self.nodes)


def measured(path: Path) -> tuple[Host, dict[int, Data]]:
    """The rates in a file that scale_measure.py printed, and ImageNet at 128 px and FFHQ at 256 px by them."""
    found: dict[str, Any] = json.loads(path.read_text())
    sizes = {128: 1_281_167, 256: 70_000}
    data = {
        side: Data(examples, each["stored_bytes"], each["decode_seconds"], each["take_seconds"])
        for side, examples in sizes.items()
        for each in [cast(dict[str, float], found["reading"][str(side)])]
    }
    return Host(**found["rates"]), data


# --- the plans of docs/scale.md -----------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A preset as it is planned: `lane` examples a GPU, and the examples of the published run."""

    title: str
    family: str
    preset: str
    side: int
    lane: int
    run: int

    @property
    def counted(self) -> Counted:
        return count_preset(self.family, self.preset, self.lane)


MODELS = (
    Model("BigGAN-128", "biggan", "imagenet128", 128, 32, 150_000 * 2_048),
    Model("StyleGAN2-256", "stylegan2", "config_f256", 256, 4, 25_000_000),
)


def plan(model: Model, gpus: int, reduction: str = "tree") -> Plan:
    """The model on A100 nodes, by what the code does today."""
    host, data = measured(MEASURED)
    return Plan(model.counted, data[model.side], model.run, A100, gpus, host, reduction)


def changed(model: Model, gpus: int) -> Plan:
    """With the changes that docs/scale.md decides on; none of them changes a byte of the model."""
    found = plan(model, gpus)
    return replace(found, ahead=True, assumed=replace(found.assumed, decoders=DECODERS))


def tree(model: Model, gpus: int) -> Plan:
    """`reduction: tree`, as it is."""
    return plan(model, gpus, "tree")


def fast(model: Model, gpus: int) -> Plan:
    """`reduction: fast`."""
    return plan(model, gpus, "fast")


SCHEMES: dict[str, Callable[[Model, int], Plan]] = {"tree": tree, "fast": fast, "changed": changed}
