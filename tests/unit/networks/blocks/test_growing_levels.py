from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.architectures.progan import GrownGenerator
from pipeline.networks.blocks.growing import Detail, GrownPlan, at_detail
from pipeline.networks.layers.resample import shrink

PLAN = GrownPlan((3, 2), 2, 3, width=32, max_width=6)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_maps_of_the_paper() -> None:
    plan = GrownPlan((4, 4), 8, 3)
    assert [plan.maps(stage) for stage in range(1, 10)] == [512, 512, 512, 512, 256, 128, 64, 32, 16]


@pytest.mark.parametrize(
    ("lod", "top"), [(2.0, (0, 0.0)), (1.25, (1, 0.25)), (1.0, (1, 0.0)), (0.5, (2, 0.5)), (0.0, (2, 0.0))]
)
def test_the_highest_level_in_use(lod: float, top: tuple[int, float]) -> None:
    assert PLAN.top(lod) == top


def test_reals_fade_with_their_own_means() -> None:
    x = noise(2, 3, 12, 8)
    coarse = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0)
    torch.testing.assert_close(at_detail(x, PLAN, 0.25), 0.75 * x + 0.25 * coarse)
    torch.testing.assert_close(at_detail(x, PLAN, 1.0), coarse)
    assert torch.equal(at_detail(x, PLAN, 0.0), x)


@settings(deadline=None)
@given(lod=st.floats(0, 2))
def test_fading_reals_twice_changes_no_whole_level(lod: float) -> None:
    x = noise(1, 3, 12, 8)
    once = at_detail(x, PLAN, lod)
    assert once.shape == x.shape
    torch.testing.assert_close(shrink(once, 2), shrink(x, 2), rtol=1e-4, atol=1e-5)


def test_detail_is_kept_to_a_millionth_as_an_integer() -> None:
    detail = Detail()
    assert detail.get() == 0.0
    detail.set(1.3)
    assert detail.get() == pytest.approx(1.3, abs=1e-6)
    assert not detail.count.is_floating_point()
    generator = GrownGenerator(PLAN, 5, 0)
    generator.detail.set(2.0)
    z = noise(1, 5)
    assert torch.equal(generator(z), generator(z, lod=2.0))
