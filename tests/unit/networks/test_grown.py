from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.architectures.progan import GrownCritic, GrownGenerator
from pipeline.networks.architectures.stylegan import FUSED, AdaptiveLayer, AdaptiveSynthesis, fused_doubling
from pipeline.networks.blocks.growing import Detail, GrownPlan, at_detail
from pipeline.networks.layers.norm import instance_norm
from pipeline.networks.layers.resample import enlarge, shrink

PLAN = GrownPlan((3, 2), 2, 3, width=32, max_width=6)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


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


@pytest.mark.parametrize("lod", [0.0, 0.5, 1.0, 1.75, 2.0])
def test_images_are_of_full_size_at_every_detail(lod: float) -> None:
    generator, critic = GrownGenerator(PLAN, 5, 0), GrownCritic(PLAN, 2)
    image = generator(noise(4, 5), lod=lod)
    assert image.shape == (4, 3, 12, 8)
    cell = 2 ** int(lod)
    torch.testing.assert_close(enlarge(shrink(image, int(lod)), int(lod)), image)
    assert cell == 4 or not torch.allclose(enlarge(shrink(image, int(lod) + 1), int(lod) + 1), image, atol=1e-3)
    assert critic(image, lod).shape == (4, 2)


def test_a_fade_runs_from_the_old_image_to_the_new() -> None:
    generator = GrownGenerator(PLAN, 5, 0)
    z = noise(2, 5)
    old, half, new = (generator(z, lod=lod) for lod in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (old + new) / 2)


def test_the_critic_fades_from_the_head_below() -> None:
    critic = GrownCritic(PLAN, 1, "none")
    x = noise(2, 3, 12, 8)
    nearly_old, old = critic(x, 0.999999), critic(at_detail(x, PLAN, 1.0), 1.0)
    torch.testing.assert_close(nearly_old, old, rtol=1e-3, atol=1e-4)


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


def test_heads_out_of_use_get_no_gradient() -> None:
    generator = GrownGenerator(PLAN, 5, 0)
    names = [name for name, _ in generator.named_parameters()]
    for lod, used in ((2.0, {"0"}), (1.0, {"1"}), (1.5, {"0", "1"}), (0.0, {"2"})):
        total = generator(noise(2, 5), lod=lod).square().sum()
        own = list(generator.parameters())
        found = cast(tuple[torch.Tensor | None, ...], torch.autograd.grad(total, own, allow_unused=True))
        heads = {
            name.split(".")[1]
            for name, each in zip(names, found, strict=True)
            if "to_image" in name and each is not None
        }
        assert heads == used


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


def test_minibatch_options_of_the_critic() -> None:
    x = noise(4, 3, 12, 8)
    for name, extra in (("none", 0), ("deviation", 6 * 9), ("discrimination", 6 * 160 + 32 + 32)):
        critic = GrownCritic(PLAN, 1, name)  # pyright: ignore[reportArgumentType]
        base = sum(each.numel() for each in GrownCritic(PLAN, 1, "none").parameters())
        assert sum(each.numel() for each in critic.parameters()) == base + extra
        alone = critic(x[:1].repeat(4, 1, 1, 1))
        assert alone.shape == (4, 1)


# --- StyleGAN's layers ------------------------------------------------------------------------


def test_instance_norm() -> None:
    y = instance_norm(5 + 3 * noise(2, 4, 6, 6))
    torch.testing.assert_close(y.mean((2, 3)), torch.zeros(2, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var((2, 3), correction=0), torch.ones(2, 4))


def test_a_style_sets_mean_and_deviation() -> None:
    """AdaIN: each map leaves with mean b and deviation |1 + s|."""
    layer = AdaptiveLayer(4, 6, 5, (8, 8))
    w = noise(3, 5)
    y = layer(noise(3, 4, 8, 8), w, "none")
    scale, shift = layer.style(w).chunk(2, dim=1)
    torch.testing.assert_close(y.mean((2, 3)), shift, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(y.std((2, 3), correction=0), (1 + scale).abs(), rtol=1e-3, atol=1e-4)


def test_fused_doubling_is_repetition_and_a_true_convolution() -> None:
    """Up to the borders: that is, a correlation with the kernel turned by 180°."""
    x, weight = noise(2, 3, 5, 4), noise(6, 3, 3, 3, seed=1)
    repeated = F.interpolate(x, scale_factor=2.0)
    torch.testing.assert_close(
        fused_doubling(x, weight), F.conv2d(repeated, weight.flip(2, 3), padding=1), rtol=1e-4, atol=1e-5
    )


def test_a_dot_leaves_the_fused_kernel_behind() -> None:
    """One pixel becomes four, each of which leaves the kernel: their sum, by hand."""
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    wanted = torch.zeros(6, 6)
    for row in (0, 1):
        for column in (0, 1):
            wanted[1 + row : 4 + row, 1 + column : 4 + column] += weight[0, 0]
    torch.testing.assert_close(fused_doubling(x, weight)[0, 0], wanted)


@pytest.mark.parametrize(("side", "fused"), [(FUSED // 2, False), (FUSED, True)])
def test_layers_are_fused_from_128_pixels_on(side: int, fused: bool) -> None:
    layer = AdaptiveLayer(2, 3, 4, (side, 2 * side), up=True)
    assert layer.conv is not None
    x, w = noise(1, 2, side // 2, side), noise(1, 4)
    before = layer(x, w, "none")
    with torch.no_grad():
        layer.conv.weight.copy_(layer.conv.weight.flip(2, 3))
    layer.fused = not fused
    torch.testing.assert_close(layer(x, w, "none"), before, rtol=1e-3, atol=1e-4)


def test_the_constant_is_of_ones_and_noise_is_one_map_a_layer() -> None:
    synthesis = AdaptiveSynthesis(PLAN, 5)
    name, const = next(iter(synthesis.named_parameters()))
    assert name == "levels.0.const"
    assert torch.equal(const, torch.ones(1, 6, 3, 2))
    kept = [each for name, each in synthesis.named_buffers() if name.endswith("noise_const")]
    assert [tuple(each.shape) for each in kept] == [(1, 1, 3, 2)] * 2 + [(1, 1, 6, 4)] * 2 + [(1, 1, 12, 8)] * 2


def test_layers_beyond_the_detail_do_not_matter() -> None:
    synthesis = AdaptiveSynthesis(PLAN, 5)
    assert synthesis.layers == 6
    ws = noise(2, 6, 5)
    changed = ws.clone()
    changed[:, 4:] += 1
    assert torch.equal(synthesis(ws, lod=1.0), synthesis(changed, lod=1.0))
    assert not torch.equal(synthesis(ws, lod=0.5), synthesis(changed, lod=0.5))
