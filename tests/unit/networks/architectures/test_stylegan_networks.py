from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pipeline.networks.architectures.stylegan import FUSED, AdaptiveLayer, AdaptiveSynthesis, fused_doubling
from pipeline.networks.blocks.growing import GrownPlan

PLAN = GrownPlan((3, 2), 2, 3, width=32, max_width=6)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
