"""Turns and phases against games small enough for pencil and paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from games import IMAGES, ROWS, Data, Scalars, dcgan, number, sgd, slope, toy, train
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.contract import Advancing, LocalWorld, Phase, State, Turn
from pipeline.training.step import Stepper


def ended(family: Scalars, folder: Path, **keys: Any) -> dict[str, float]:
    """The players' numbers after 8 steps."""
    outcome = train(family, ROWS, folder, averaging={"half_life": 1e-3, "ramp": None}, **keys)
    return {name: number(network).item() for name, network in outcome.networks.items()}


def product(sign: int) -> Any:
    """x·y, which x minimises (sign 1) and y maximises (sign -1)."""

    def objective(turn: Turn) -> dict[str, Tensor]:
        return {"total": sign * (number(turn.networks["x"]) * number(turn.networks["y"])).sum()}

    return objective


@pytest.mark.parametrize("apply", ["now", "end"])
def test_simultaneous_and_alternating_play(apply: Any, tmp_path: Path) -> None:
    """min over x, max over y of x·y from (1, 1), by gradient steps of 1/4."""
    players = {"x": sgd(0.25), "y": sgd(0.25)}
    phases = (Phase("x", "x", product(1), apply=apply), Phase("y", "y", product(-1), batch="same", apply=apply))
    x = y = 1.0
    for _ in range(8):
        new_x = x - 0.25 * y
        y = y + 0.25 * (x if apply == "end" else new_x)
        x = new_x
    assert ended(Scalars(players, phases, start=1.0), tmp_path) == pytest.approx({"x": x, "y": y}, rel=1e-5)


def test_lazy_phases_repeats_predicates_and_gains(tmp_path: Path) -> None:
    """8 steps of slope 1 and rate 1: each number counts its phase's turns."""
    players = {name: sgd() for name in ("each", "lazy", "twice", "falling", "odd")}
    phases = (
        Phase("each", "each", slope("each")),
        Phase("lazy", "lazy", slope("lazy"), every=3, gain=3, batch="same"),
        Phase("twice", "twice", slope("twice"), repeats=2, batch="same"),
        Phase("falling", "falling", slope("falling"), repeats=lambda state: 5 if state.step < 2 else 0, batch="same"),
        Phase("odd", "odd", slope("odd"), when=lambda state: state.step % 2 == 1, gain=0.5, batch="same"),
    )
    found = ended(Scalars(players, phases), tmp_path)
    assert found == {"each": -8, "lazy": -9, "twice": -16, "falling": -10, "odd": -2}


def test_fresh_batches_move_the_clock_and_the_same_do_not(tmp_path: Path) -> None:
    """Three discriminator turns on fresh data a step: three batches on the clock."""
    phases = (
        Phase("discriminator", "discriminator", slope("discriminator"), repeats=3),
        Phase("generator", "generator", slope("generator"), batch="same"),
        Phase("none", "generator", slope("generator"), batch="none"),
    )
    outcome = train(Scalars({"discriminator": sgd(), "generator": sgd()}, phases), ROWS, tmp_path, examples=96)
    assert (outcome.state.step, outcome.state.examples_seen) == (2, 96)


def test_a_step_without_data_moves_the_clock_by_its_batch(tmp_path: Path) -> None:
    outcome = train(Scalars({"a": sgd()}, (Phase("a", "a", slope("a"), batch="none"),)), ROWS, tmp_path)
    assert (outcome.state.step, outcome.state.examples_seen) == (8, 128)


def test_same_never_reaches_back_to_an_earlier_step(tmp_path: Path) -> None:
    """Where the phase with fresh data is not due, `same` reads: a resumed run has no earlier step."""
    seen: list[float] = []

    def look(turn: Turn) -> dict[str, Tensor]:
        assert "x" in turn.batch
        seen.append(turn.batch["x"].sum().item())
        return slope("a")(turn)

    phases = (Phase("rare", "a", slope("a"), every=4), Phase("often", "a", look, batch="same"))
    outcome = train(Scalars({"a": sgd()}, phases), ROWS, tmp_path, lanes=1, examples=64)
    data = Data(ROWS)
    assert seen == [data.batch(16 * step, 0, 16)["x"].sum().item() for step in range(4)]
    assert outcome.state.examples_seen == 64


def test_phases_share_noise_by_name_and_not_otherwise(tmp_path: Path) -> None:
    seen: dict[str, list[list[float]]] = {}

    def look(turn: Turn) -> dict[str, Tensor]:
        seen.setdefault(turn.phase, []).append(turn.latents["z"].flatten().tolist())
        return slope("a")(turn)

    phases = (
        Phase("first", "a", look, latents="shared"),
        Phase("second", "a", look, batch="same", latents="shared"),
        Phase("own", "a", look, batch="same", repeats=2),
    )
    train(Scalars({"a": sgd()}, phases), ROWS, tmp_path, examples=32, lanes=2)
    assert seen["first"] == seen["second"]
    drawn = [tuple(values) for name in ("first", "own") for values in seen[name]]
    assert len(set(drawn)) == len(drawn) == 4 + 8, "every lane, turn and step draws its own"


def test_the_mean_over_lanes_is_the_gradient(tmp_path: Path) -> None:
    """With slopes 1, 2, 3, 4 by lane a step moves by their mean."""

    def objective(turn: Turn) -> dict[str, Tensor]:
        return {"total": (turn.lane + 1) * number(turn.networks["a"]).sum(), "lane": torch.tensor(float(turn.lane))}

    outcome = train(Scalars({"a": sgd()}, (Phase("a", "a", objective),)), ROWS, tmp_path, examples=32)
    assert number(outcome.networks["a"]).item() < 0
    assert outcome.history[-1]["a/gradient_norm"] == 2.5
    assert outcome.history[-1]["a/lane"] == 1.5


class Moody(Scalars):
    """Two networks with BatchNorm and a counter that `advance` moves; notes the modes it is shown."""

    def __init__(self) -> None:
        self.modes: list[tuple[str, bool, bool]] = []
        phases = (
            Phase("calm", "a", self._look, evaluating=frozenset({"norm"})),
            Phase("lively", "a", self._look, batch="same", repeats=2),
        )
        super().__init__({"a": sgd()}, phases)

    def build(self, spec: Any) -> dict[str, nn.Module]:
        return {**super().build(spec), "norm": nn.BatchNorm1d(spec.size), "counter": Counter()}

    def _look(self, turn: Turn) -> dict[str, Tensor]:
        assert "x" in turn.batch
        norm = turn.networks["norm"]
        self.modes.append((turn.phase, norm.training, turn.networks["a"].training))
        return {"total": number(turn.networks["a"]).sum() + 0 * norm(turn.batch["x"]).sum()}


class Counter(nn.Module, Advancing):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def advance(self) -> None:
        self.count += 1


def test_modes_buffers_and_advances() -> None:
    family = Moody()
    networks = family.build(ROWS)
    stepper = Stepper(family, networks, LocalWorld(), lanes=4, batch_size=16, fast=False)
    data, state = Data(ROWS), State(seed=0)
    lanes = [data.batch(0, 4 * lane, 4 * lane + 4) for lane in range(4)]
    norm, counter = networks["norm"], networks["counter"]
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(counter, Counter)
    assert norm.running_mean is not None
    calm, lively = family.phases()
    stepper.begin()
    stepper.turn(calm, 0, lanes, state)
    assert norm.running_mean.eq(0).all(), "evaluating: statistics stand still"
    stepper.turn(lively, 0, lanes, state)
    assert family.modes[0] == ("calm", False, True)
    assert family.modes[-1] == ("lively", True, True)
    # Each lane starts from the same statistics; the step takes their mean: once, not four times.
    mean = torch.stack([lane["x"].mean(0) for lane in lanes if "x" in lane]).mean(0)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    assert int(norm.num_batches_tracked or 0) == 1
    assert counter.count == 2, "once a phase, not once a lane"


class Copies(TorchDispatchMode):
    """Counts clones and copies."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket in (torch.ops.aten.clone, torch.ops.aten.copy_)
        return func(*args, **(kwargs or {}))


def copies(lanes: int) -> int:
    """Clones and copies in one turn of the discriminator beyond those of its objective and its backward pass."""
    family = dcgan()
    networks = family.build(IMAGES)
    stepper = Stepper(family, networks, LocalWorld(), lanes=lanes, batch_size=16, fast=False)
    batch = [Data(IMAGES).batch(0, lane * (16 // lanes), (lane + 1) * (16 // lanes)) for lane in range(lanes)]
    stepper.begin()
    phase = family.phases()[0]
    with Copies() as whole:
        stepper.turn(phase, 0, batch, State(seed=0))
    return whole.count


def test_one_lane_copies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one lane no buffer is kept, none restored, nothing cloned."""
    lane = copies(1)
    monkeypatch.setattr(Stepper, "_training_buffers", lambda self: pytest.fail("buffers were looked at"))
    assert copies(1) == lane
    monkeypatch.undo()
    assert copies(2) > 2 * lane


def test_held_steps_are_forgotten_where_a_step_breaks(tmp_path: Path) -> None:
    """A NaN after a phase of simultaneous play leaves no gradient behind for the next step."""

    def ill(turn: Turn) -> dict[str, Tensor]:
        total = number(turn.networks["b"]).sum()
        return {"total": total * float("nan") if turn.state.attempt == 0 else total}

    phases = (Phase("a", "a", slope("a"), apply="end"), Phase("b", "b", ill, batch="same", apply="end"))
    outcome = train(
        Scalars({"a": sgd(), "b": sgd()}, phases), ROWS, tmp_path, averaging={"half_life": 1e-3, "ramp": None}
    )
    assert {name: number(net).item() for name, net in outcome.networks.items()} == {"a": -8, "b": -8}


def test_the_toy_uses_everything(tmp_path: Path) -> None:
    outcome = train(toy(warm_up=32), ROWS, tmp_path, examples=256)
    assert outcome.state.segment == 1
    assert outcome.state.tensors["turns"].item() == outcome.state.step
    assert {"discriminator/total", "penalty/total", "scout/total", "generator/oracle"} <= {
        k for r in outcome.history for k in r
    }
