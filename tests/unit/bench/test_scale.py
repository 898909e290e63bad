"""The estimates of docs/scale.md: counts and formulas against closed forms, the page against the script."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean

import numpy as np
import pytest
import scale
import torch
from scale_measure import measure

pytestmark = pytest.mark.slow

GIVEN = scale.inputs(near=2e11, far=4e10, near_share=1.0, far_share=1.0, near_wait=1e-6, far_wait=1e-5)


def test_one_convolution_is_counted_as_by_hand() -> None:
    """2·3·3·in·out·h·w forward, the same for each of both gradients; float32 in, weights and out once each way."""
    convolution = torch.nn.Conv2d(5, 7, 3, padding=1, bias=False, device="meta")
    with scale.Recorder() as recorder:
        x = torch.empty((2, 5, 8, 8), device="meta", requires_grad=True)
        convolution(x).sum().backward()
    forward, backward = sorted(kernel for kernel in recorder.kernels if kernel[2])
    flops = 2 * 3 * 3 * 5 * 7 * 8 * 8 * 2
    assert forward[:2] == (flops, 4 * (2 * 5 * 64 + 3 * 3 * 5 * 7 + 2 * 7 * 64))
    assert backward[0] == 2 * flops


def test_the_published_presets_are_counted() -> None:
    big, style = (scale.count(m["family"], m["preset"], m["lane"]) for m in scale.MODELS)
    assert {phase.name: phase.parameters for phase in big.phases} == {
        "discriminator": 87_982_370,
        "generator": 70_433_988,
    }
    assert [(phase.name, phase.every) for phase in style.phases] == [
        ("generator", 1),
        ("path_length", 4),
        ("discriminator", 1),
        ("penalty", 16),
    ]
    # Gradients and the objective's parts at least; three copies of the weights, two of them Adam's, in a checkpoint.
    assert all(phase.message > phase.parameters for phase in (*big.phases, *style.phases))
    assert big.checkpoint > 12 * (87_982_370 + 70_433_988)


def test_both_reductions_move_twice_the_message_but_one_share() -> None:
    """Eight GPUs of one node have equal links: 2(n-1)/n of a gigabyte, six exchanges or fourteen hops."""
    moved = 2 * 7 / 8 * 1e9 / 2e11
    assert scale.halving(1e9, 8, GIVEN) == pytest.approx(moved + 6e-6)
    assert scale.ring(1e9, 8, GIVEN) == pytest.approx(moved + 14e-6)
    assert scale.halving(1e9, 1, GIVEN) == scale.ring(1e9, 1, GIVEN) == 0


def test_a_node_shares_its_way_out() -> None:
    """64 GPUs: three rounds near, three far, in which eight messages leave every node at once."""
    far = 2 * (1 / 16 + 1 / 32 + 1 / 64) * 8 / 40
    near = 2 * (1 / 2 + 1 / 4 + 1 / 8) / 200
    assert scale.halving(1e9, 64, GIVEN) == pytest.approx(near + far + 6e-6 + 6e-5)
    assert scale.ring(1e9, 64, GIVEN) == pytest.approx(2 * 63 / 64 / 40 + 2 * (56e-6 + 7e-5))


def test_the_roofline_takes_the_longer_of_arithmetic_and_traffic() -> None:
    kernels = Counter({(156 * 10**9, 10**6, True): 2, (10**6, 1_555_000_000, False): 1})
    phase = scale.PhaseCount("p", 1, False, kernels, 0, 0, 0)
    assert scale.roofline(phase, scale.inputs()) == pytest.approx(2e-3 + 1e-3)


@pytest.mark.parametrize("ranks", [1, 8, 512])
def test_the_slowest_rank_is_the_expected_maximum(ranks: int) -> None:
    times = np.random.default_rng(0).lognormal(0, 0.03, (2_000, ranks))
    assert scale.straggling(0.03, ranks) == pytest.approx(times.max(axis=1).mean() - 1, abs=2e-3)


@pytest.mark.parametrize(("restart", "mtbf"), [(300.0, 86_400.0), (1_700.0, 1_350.0)])
def test_failures_cost_what_a_simulation_of_them_costs(restart: float, mtbf: float) -> None:
    source, interval, work = np.random.default_rng(0), 600.0, 20_000 * 60.0

    def simulated() -> float:
        done = lost = waiting = 0.0
        while True:
            left = float(source.exponential(mtbf))
            if left < waiting:
                lost += left
                continue
            lost, left = lost + waiting, left - waiting
            if left >= work - done:
                return lost
            kept = left // interval * interval
            done, lost, waiting = done + kept, lost + left - kept, restart

    expected = fmean(simulated() for _ in range(400))
    assert scale.lost_to_failures(work, interval, restart, 1 / mtbf) == pytest.approx(expected, rel=0.05)


def test_without_network_and_failures_a_gpu_is_as_fast_among_many() -> None:
    ideal = scale.inputs(near=math.inf, far=math.inf, near_wait=0, far_wait=0, spread=0, fetch=math.inf, mtbf=math.inf)
    run = scale.seconds(scale.Plan(scale.MODELS[0], 512, given=ideal | {"mtbf": 1e15}))
    alone = scale.seconds(scale.Plan(scale.MODELS[0], 1, given=ideal | {"mtbf": 1e15}))
    assert run["reduction"] == run["stragglers"] == 0
    assert run["failures"] == pytest.approx(0, abs=1)
    assert run["compute"] == pytest.approx(alone["compute"] / 512)


def test_this_machine_is_measured_as_the_kept_file_was() -> None:
    threads = torch.get_num_threads()
    try:
        found = measure(size=2**22, images=160)
    finally:
        torch.set_num_threads(threads)
    kept = scale.MEASURED["numbers"]
    assert found["numbers"].keys() == kept.keys()
    assert found["numbers"]["stored_128"]["value"] == pytest.approx(kept["stored_128"]["value"], rel=0.1)
    for side in (128, 256):
        assert 0 < found["numbers"][f"decoded_{side}"]["value"] < found["numbers"][f"taken_{side}"]["value"]


def test_the_page_holds_what_the_script_prints() -> None:
    page = scale.PAGE.read_text()
    assert page.count("<!-- table: ") == page.count("<!-- end -->") == len(scale.TABLES)
    assert scale.filled(page) == page, "python tests/bench/scale.py --write"


def test_the_bottlenecks_are_those_that_the_page_names() -> None:
    """Of today's code by `tree`, and what is left with both changes."""
    found = {(m["title"], n): scale.bottleneck(scale.Plan(m, n)) for m in scale.MODELS for n in scale.SIZES}
    assert list(found.values()) == ["compute", "reduction", "start", "draw", "reduction", "draw"]
    changed = [scale.bottleneck(scale.Plan(m, 512, **scale.SCHEMES["changed"])) for m in scale.MODELS]
    assert changed == ["reduction", "reduction"]
