from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.layers.resample import (
    Blur,
    DownConvolution,
    FilteredDownsample,
    FilteredUpsample,
    MirroredDownsample,
    RepeatedUpsample,
    UpConvolution,
    mean_pool,
    upsample_nearest,
    widen,
)


def test_resampling_by_repetition_and_mean_are_inverse() -> None:
    x = torch.arange(12.0).view(1, 2, 2, 3)
    assert upsample_nearest(x)[0, 0].tolist()[:2] == [[0, 0, 1, 1, 2, 2]] * 2
    assert torch.equal(mean_pool(upsample_nearest(x)), x)


def test_widen() -> None:
    assert widen([1, 2, 1]) == [1, 3, 3, 1]


@pytest.mark.parametrize("layer", [FilteredUpsample, FilteredDownsample])
def test_filters_keep_a_constant_inside_the_border(layer: type[FilteredUpsample] | type[FilteredDownsample]) -> None:
    y = layer((1.0, 2.0, 1.0))(torch.ones(1, 2, 8, 8))
    torch.testing.assert_close(y[..., 1:-1, 1:-1], torch.ones_like(y[..., 1:-1, 1:-1]))


def test_upsampling_is_by_quarters() -> None:
    """[1, 3, 3, 1]/4 along a line: each output is ¾ of the near and ¼ of the far neighbour."""
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, :] = 1.0
    line = FilteredUpsample((1.0, 2.0, 1.0))(x)[0, 0, :, 4]
    assert line.tolist() == pytest.approx([0, 0, 0, 0.25, 0.75, 0.75, 0.25, 0, 0, 0])


def test_down_is_up_transposed_over_four() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 3, 4, 6, generator=generator), torch.randn(1, 3, 8, 12, generator=generator)
    up, down = FilteredUpsample((1.0, 2.0, 1.0)), FilteredDownsample((1.0, 2.0, 1.0))
    assert (up(x) * y).sum().item() == pytest.approx(4 * (x * down(y)).sum().item(), rel=1e-4)


def test_an_odd_filter_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        FilteredUpsample((1.0, 1.0))


LINE = (1.0, 3.0, 3.0, 1.0)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_hand(x: Tensor, up: int, before: int, after: int, gain: float) -> Tensor:
    """Zeros between, zeros around, then every output as a sum over sixteen taps."""
    taps = torch.tensor(LINE, dtype=x.dtype)
    taps = taps / taps.sum()
    height, width = x.shape[2] * up, x.shape[3] * up
    wide = x.new_zeros(*x.shape[:2], height + before + after, width + before + after)
    wide[:, :, before : before + height : up, before : before + width : up] = x
    rows, columns = wide.shape[2] - 3, wide.shape[3] - 3
    total = x.new_zeros(*x.shape[:2], rows, columns)
    for i in range(4):
        for j in range(4):
            total += gain * taps[3 - i] * taps[3 - j] * wide[:, :, i : i + rows, j : j + columns]
    return total


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 1)])
def test_blur_is_its_sum(before: int, after: int) -> None:
    x = noise(2, 3, 5, 4)
    blur = Blur(LINE, before, after, gain=4.0).double()
    torch.testing.assert_close(blur(x), by_hand(x, 1, before, after, 4.0))


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_blur_of_a_constant_is_its_gain(gain: float) -> None:
    y = Blur((1.0, 2.0, 1.0), 1, 1, gain)(torch.ones(1, 2, 6, 6))
    torch.testing.assert_close(y[..., 1:-1, 1:-1], torch.full((1, 2, 4, 4), gain))


@pytest.mark.parametrize("kernel", [1, 3])
def test_up_convolution_is_zeros_weights_filter(kernel: int) -> None:
    """(FIR ∘ w)(zeros between x): with a 3×3 whose middle alone is set this is plain filtered doubling."""
    x = noise(2, 3, 4, 5)
    weight = torch.zeros(3, 3, kernel, kernel, dtype=x.dtype)
    weight[range(3), range(3), kernel // 2, kernel // 2] = 1
    y = UpConvolution(LINE, kernel).double()(x, weight)
    assert y.shape == (2, 3, 8, 10)
    torch.testing.assert_close(y, by_hand(x, 2, 2, 1, 4.0))


def test_up_convolution_turns_its_kernel() -> None:
    """Transposed convolution spreads x by w: a tap right of the middle moves the image to the right."""
    x = noise(1, 1, 4, 4)
    weight = torch.zeros(1, 1, 3, 3, dtype=x.dtype)
    weight[0, 0, 1, 2] = 1
    plain = by_hand(x, 2, 2, 1, 4.0)
    torch.testing.assert_close(UpConvolution(LINE, 3).double()(x, weight)[..., 1:], plain[..., :-1])


def test_down_convolution_is_filter_then_stride() -> None:
    x, weight = noise(2, 3, 6, 8), noise(5, 3, 3, 3)
    y = DownConvolution(LINE, 3).double()(x, weight)
    assert y.shape == (2, 5, 3, 4)
    torch.testing.assert_close(y, F.conv2d(by_hand(x, 1, 2, 2, 1.0), weight, stride=2))


def test_both_have_second_derivatives() -> None:
    x, weight = noise(1, 2, 4, 4).requires_grad_(), noise(2, 2, 3, 3).requires_grad_()
    for layer in (UpConvolution(LINE, 3).double(), DownConvolution(LINE, 3).double()):
        assert torch.autograd.gradgradcheck(layer, (x, weight))


def test_mirrored_downsampling_weighs_neighbours_one_two_one() -> None:
    x = torch.rand(2, 3, 6, 8)
    line = torch.cat([x[..., 1:2], x, x[..., -2:-1]], dim=3)
    across = (line[..., :-2] + 2 * line[..., 1:-1] + line[..., 2:])[..., ::2] / 4
    column = torch.cat([across[:, :, 1:2], across, across[:, :, -2:-1]], dim=2)
    wanted = (column[:, :, :-2] + 2 * column[:, :, 1:-1] + column[:, :, 2:])[:, :, ::2] / 4
    assert torch.allclose(MirroredDownsample()(x), wanted, atol=1e-6)


def test_repeated_upsampling_mixes_each_position_three_to_one_with_a_neighbour() -> None:
    x = torch.rand(1, 2, 3, 4)

    def doubled(x: Tensor) -> Tensor:
        line = torch.cat([x[..., :1], x, x[..., -1:]], dim=3)
        left, right = (line[..., :-2] + 3 * x) / 4, (3 * x + line[..., 2:]) / 4
        return torch.stack([left, right], dim=4).flatten(3)

    wanted = doubled(doubled(x).transpose(2, 3)).transpose(2, 3)
    assert torch.allclose(RepeatedUpsample()(x), wanted, atol=1e-6)
