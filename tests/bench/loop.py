"""`make bench`: the game loop against a bare hand-written one, interleaved in one run, as ratios.

Same networks, optimisers and losses, the data in memory, one thread. The bare loop is what a
careful person would write in a notebook: no lanes, no checks, no observations but the losses.
Speeds on a busy machine wander, so each round times both, one after the other, and the ratio is
the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from pipeline import plugins
from pipeline.contract import AnyFamily, LocalWorld, MemoryReporter, State
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.training.loop import Game, RunParts, build
from pipeline.training.settings import InTrainingScore, TrainSettings
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (1, 16, 16), tuple("0123456789"))
BATCH = 64
Step = Callable[[], None]


class Memory:
    """Digits at 16×16 in memory, float, in a repeating order."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        x = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
        self.x = F.interpolate(x, size=16, mode="bilinear")
        self.label = torch.tensor(digits.target)

    def batch(self, position: int, start: int, stop: int, device: torch.device | str = "cpu") -> Batch:
        index = (torch.arange(start, stop) + position) % len(self.x)
        return {"x": self.x[index], "label": self.label[index]}


def ours(family: AnyFamily, data: Memory, lanes: int) -> Step:
    """The loop of the library, one step a call."""
    every = 64_000  # beyond what is timed
    score = InTrainingScore(every=every)
    settings = TrainSettings(
        batch_size=BATCH, lanes=lanes, tick=every, checkpoint=every, grid=every, examples=every, score=score
    )
    store = CheckpointStore(Path(tempfile.mkdtemp(prefix="zerosum-bench-")))
    game = Game(RunParts(settings, family, SPEC, data, LocalWorld(), MemoryReporter(), store))
    game.start()
    return lambda: void(game.step())


def bare(family: AnyFamily, data: Memory) -> Step:
    """The digits DCGAN by hand: shared fakes, R1 every fourth step, Adam, EMA."""
    config = family.config
    networks = build(family, SPEC, State(seed=0), torch.device("cpu"))
    generator, discriminator = networks["generator"], networks["discriminator"]
    average = build(family, SPEC, State(seed=0), torch.device("cpu"))["generator"].eval().requires_grad_(False)
    (penalty,) = config.penalties
    every, gamma = penalty["every"], penalty["gamma"]
    share = every / (every + 1)
    betas = (config.discriminator.beta1**share, config.discriminator.beta2**share)
    on_discriminator = torch.optim.Adam(discriminator.parameters(), config.discriminator.lr * share, betas, fused=True)
    betas = (config.generator.beta1, config.generator.beta2)
    on_generator = torch.optim.Adam(generator.parameters(), config.generator.lr, betas, fused=True)
    counter = iter(range(10**9))

    def step() -> None:
        number = next(counter)
        batch = data.batch(number * BATCH, 0, BATCH)
        x, label = batch["x"], batch["label"]
        fake = generator(torch.randn(BATCH, config.latent), label)
        loss = F.softplus(-discriminator(x, label)).mean() + F.softplus(discriminator(fake.detach(), label)).mean()
        on_discriminator.zero_grad()
        loss.backward()
        on_discriminator.step()
        if number % every == 0:
            penalised = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(discriminator(penalised, label).sum(), penalised, create_graph=True)
            on_discriminator.zero_grad()
            (every * gamma / 2 * gradient.flatten(1).square().sum(1).mean()).backward()
            on_discriminator.step()
        discriminator.requires_grad_(False)
        on_generator.zero_grad()
        F.softplus(-discriminator(fake, label)).mean().backward()
        on_generator.step()
        discriminator.requires_grad_(True)
        floats = [t for t in average.state_dict(keep_vars=True).values() if t.is_floating_point()]
        live = [t.detach() for t in generator.state_dict(keep_vars=True).values() if t.is_floating_point()]
        torch._foreach_lerp_(floats, live, 0.005)

    return step


def void(_: object) -> None:
    """Drop a value."""


def timed(step: Step, steps: int) -> float:
    """Seconds for so many steps."""
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - begin


def measure(rounds: int, steps: int) -> dict[str, float]:
    """Median ratios of speed, ours over the bare loop's."""
    torch.set_num_threads(1)
    family = plugins.load("families", {"name": "dcgan", "preset": "digits"})
    data = Memory()
    loops = {"bare": bare(family, data), "1 lane": ours(family, data, 1), "2 lanes": ours(family, data, 2)}
    for step in loops.values():
        timed(step, 8)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds):
        names = list(loops)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name].append(timed(loops[name], steps))
    ratios = {
        name: statistics.median(b / t for b, t in zip(seconds["bare"], seconds[name], strict=True))
        for name in ("1 lane", "2 lanes")
    }
    rate = BATCH * steps / statistics.median(seconds["bare"])
    return {"bare_examples_per_second": rate, **{f"{name} / bare": ratio for name, ratio in ratios.items()}}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.rounds, arguments.steps)
    if arguments.json:
        print(json.dumps(found))
        return
    print("the game loop, DCGAN on digits at 16×16, batch 64, one thread")
    print(f"  bare loop          {found['bare_examples_per_second']:,.0f} examples/s")
    print(f"  ours, one lane     {found['1 lane / bare']:.3f} × the bare loop's speed (floor: 0.95)")
    print(f"  ours, two lanes    {found['2 lanes / bare']:.3f} × (in one process: two half batches)")


if __name__ == "__main__":
    main()
