"""The plan beyond these machines: its simulation against closed forms, and its page against the simulation."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import scale
import scale_costs as costs
import scale_counts as counts
import scale_simulation as simulation
from hypothesis import given, settings
from hypothesis import strategies as st
from scale_machines import A100, HOUR, Assumed, Machine
from scale_plan import MEASURED, Data, Host, Plan, measured

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.types import DataSpec

pytestmark = pytest.mark.slow


INFINITE = float("inf")
IDEAL = Machine("ideal network", 8, 156e12, 19.5e12, 1.555e12, INFINITE, INFINITE, INFINITE, 1.0, 1.0)
INSTANT = Host(0.0, 0.0, INFINITE, INFINITE, INFINITE, INFINITE)
FREE = Data(1_000_000, 30_000, 0.0, 0.0)
CALM = Assumed(spread=0.0, fetch=INFINITE, mtbf=INFINITE, near_wait=0.0, far_wait=0.0)


@functools.cache
def counted(family: str) -> counts.Counted:
    loaded = cast(AnyFamily, plugins.load("families", {"name": family, "preset": "smoke"}))
    return counts.count(loaded, DataSpec("image", (3, 16, 16), tuple("0123456789")), 4)


@pytest.fixture
def plan() -> Plan:
    """A small network on machines of which only computing, the network and storage take time."""
    return Plan(counted("biggan"), FREE, 10**8, A100, 1, INSTANT, assumed=CALM)


def test_one_gpu_is_the_measure_of_efficiency(plan: Plan) -> None:
    alone = simulation.simulate(replace(plan, assumed=replace(CALM, spread=0.1)))
    assert simulation.efficiency(alone, alone) == 1
    assert alone.parts["reduction"] == alone.parts["stragglers"] == alone.parts["failures"] == 0


@pytest.mark.parametrize("reduction", list(costs.REDUCTIONS))
@pytest.mark.parametrize("gpus", [8, 64, 512])
def test_nothing_is_lost_where_network_and_storage_are_infinite(plan: Plan, reduction: str, gpus: int) -> None:
    ideal = replace(plan, machine=IDEAL, reduction=reduction)
    found = simulation.simulate(replace(ideal, gpus=gpus))
    steps_done_whole = math.ceil(ideal.run / found.plan.batch) * found.plan.batch / ideal.run  # the last is not cut
    assert simulation.efficiency(found, simulation.simulate(ideal)) == pytest.approx(1 / steps_done_whole)
    assert found.bottleneck == "compute"


def test_stragglers_cost_the_expected_maximum(plan: Plan) -> None:
    """Of 512 normal numbers the largest lies 3.04 deviations above the mean."""
    spread = 0.01
    calm = replace(plan, machine=IDEAL, gpus=512)
    found = simulation.simulate(replace(calm, assumed=replace(CALM, spread=spread)))
    assert found.parts["stragglers"] / found.parts["compute"] == pytest.approx(math.exp(3.04 * spread) - 1, rel=0.03)


def test_lazy_phases_count_for_one_in_so_many_steps() -> None:
    found = counted("stylegan2")
    assert [phase.every for phase in found.phases] == [1, 4, 1, 16]
    done = simulation.simulate(Plan(found, FREE, 4 * simulation.STEPS, IDEAL, 1, INSTANT, assumed=CALM))
    a, b, c, d = (costs.compute(phase, IDEAL, CALM) for phase in found.phases)
    assert done.parts["compute"] == pytest.approx(simulation.STEPS * (a + b / 4 + c + d / 16))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(costs.REDUCTIONS)), st.integers(0, 9), st.integers(0, 3))
def test_more_gpus_are_faster_and_each_less_efficient(name: str, power: int, seed: int) -> None:
    plan = Plan(counted("biggan"), FREE, 10**9, A100, 2**power, INSTANT, name, assumed=CALM)
    fewer, more = simulation.simulate(plan, seed), simulation.simulate(replace(plan, gpus=2 * plan.gpus), seed)
    assert more.parts["compute"] < fewer.parts["compute"]
    assert simulation.efficiency(more, fewer) < 1


def test_equal_plans_take_equal_seconds(plan: Plan) -> None:
    noisy = replace(plan, gpus=64, assumed=Assumed(mtbf=3600.0))
    assert simulation.simulate(noisy).parts == simulation.simulate(noisy).parts
    assert simulation.simulate(noisy).parts != simulation.simulate(noisy, seed=1).parts


# --- storage and failures -----------------------------------------------------------------------


def test_a_faster_storage_moves_the_bottleneck(plan: Plan) -> None:
    """Fetching 30 GB takes 30 s at 1 GB/s: most of a short run, and nothing at a thousandfold rate."""
    slow = replace(plan, run=10**6, gpus=8, assumed=replace(CALM, fetch=1e9))
    quick = replace(slow, assumed=replace(CALM, fetch=1e12))
    assert simulation.simulate(slow).parts["start"] == pytest.approx(30)
    assert simulation.simulate(slow).bottleneck == "start"
    assert simulation.simulate(quick).bottleneck != "start"


def test_nodes_share_what_the_storage_gives(plan: Plan) -> None:
    shared = replace(plan, gpus=64, assumed=replace(CALM, fetch=1e9, storage=2e9))
    assert simulation.first_start(shared) == pytest.approx(8 * 30e9 / 2e9)


def test_nodes_fetch_every_shard_once_where_there_is_room(plan: Plan) -> None:
    data = replace(FREE, examples=100 * 1024)
    needed = replace(plan, gpus=8, data=data, reading="shards", assumed=replace(CALM, fetch=1e9))
    assert simulation.simulate(needed).parts["fetch"] == pytest.approx(100 * 1024 * 30_000 / 1e9)


def test_nodes_fetch_for_ever_where_there_is_none(plan: Plan) -> None:
    """Room for half of the shards: about every second one that a step wants has gone in the meantime."""
    data = replace(FREE, examples=100 * 1024)
    assumed = replace(CALM, fetch=1e9)
    tight = replace(plan, gpus=8, data=data, reading="shards", disk=50 * 1024 * 30_000, assumed=assumed)
    wanted = 100 * (1 - 0.99**32)  # different shards among the 32 rows of a step
    steps = tight.run / tight.batch
    expected = steps * wanted / 2 * 1024 * 30_000 / 1e9
    assert simulation.simulate(tight).parts["fetch"] == pytest.approx(expected, rel=0.15)


def test_failures_cost_a_restart_and_half_an_interval(plan: Plan) -> None:
    """To first order in interval over time between failures; 64 nodes that fail once in 64 days: once a day."""
    assumed = replace(CALM, mtbf=64 * 24 * HOUR, checkpoint=600.0, detection=300.0)
    failing = replace(plan, gpus=512, reading="shards", assumed=assumed)
    work = 200 * 24 * HOUR
    lost = simulation.failures(failing, work, np.random.default_rng(0))
    assert lost / work == pytest.approx(costs.lost_to_failures(1 / (24 * HOUR), 300.0, 600.0), rel=0.03)


def test_a_run_that_fails_faster_than_it_restarts_does_not_end(plan: Plan) -> None:
    assumed = replace(CALM, mtbf=600.0, detection=3600.0)
    found = simulation.simulate(replace(plan, gpus=512, assumed=assumed))
    assert found.seconds == INFINITE
    assert found.rate == 0
    assert found.bottleneck == "failures"


# --- the page -----------------------------------------------------------------------------------


def test_the_measured_rates_are_read() -> None:
    host, data = measured(MEASURED)
    assert 1e-10 < host.draw_seconds < 1e-7
    assert data[128].decode_seconds < data[256].decode_seconds
    assert data[128].stored < 3 * 128**2


@pytest.mark.long
def test_the_page_holds_what_the_simulation_prints() -> None:
    page = scale.PAGE.read_text()
    for name in scale.TABLES:
        assert scale.between(name).search(page), f"docs/scale.md has no place for the table {name}"
    assert scale.filled(page) == page, "docs/scale.md is out of date: python tests/bench/scale.py --write"


@pytest.mark.long
def test_the_page_names_the_first_bottlenecks() -> None:
    """What docs/scale.md says in words of today's code, by its default reduction."""
    big, style = scale.MODELS
    found = {(m.title, n): scale.outcome(scale.tree, m, n).bottleneck for m in (big, style) for n in scale.SIZES}
    assert found[big.title, 8] == "compute"
    assert found[style.title, 8] == "draw"
    assert {found[m.title, 64] for m in (big, style)} == {"reduction"}
    assert (found[big.title, 512], found[style.title, 512]) == ("start", "draw")


def test_filling_leaves_the_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "TABLES", {"a": lambda: "| new |", "b": lambda: "unused"})
    page = "before\n<!-- table: a -->\n| old |\n<!-- end -->\nbetween\n<!-- table: c -->\nkept\n<!-- end -->\n"
    assert scale.filled(page) == page.replace("| old |", "| new |")
