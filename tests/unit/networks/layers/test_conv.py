from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.networks.layers.conv import SameConv, SameTransposed, same_padding


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "padding"),
    [(16384, 25, 4, (10, 11)), (32, 5, 2, (1, 2)), (16384, 31, 2, (14, 15)), (64, 4, 2, (1, 1)), (7, 5, 2, (2, 2))],
)
def test_tensorflow_offsets(length: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
    assert same_padding(length, kernel, stride) == padding


@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 4), dimensions=st.integers(1, 2))
def test_lengths_are_divided_rounding_up(length: int, kernel: int, stride: int, dimensions: int) -> None:
    x = torch.zeros(1, 2, *[length] * dimensions)
    assert SameConv(2, 3, kernel, stride, dimensions)(x).shape == (1, 3, *[-(-length // stride)] * dimensions)


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (4, 2), (25, 4), (3, 1)])
def test_the_transposed_carries_the_convolution_backwards(kernel: int, stride: int) -> None:
    """⟨conv(x), y⟩ = ⟨x, transposed(y)⟩ with one weight: TensorFlow's definition of conv_transpose."""
    generator = torch.Generator().manual_seed(0)
    forward, backward = SameConv(2, 3, kernel, stride, 1).double(), SameTransposed(3, 2, kernel, stride, 1).double()
    backward.conv.load_state_dict({"weight": forward.conv.weight.detach(), "bias": torch.zeros(2)})
    x = torch.randn(1, 2, 8 * stride, generator=generator).double()
    y = torch.randn(1, 3, 8, generator=generator).double()
    assert (forward(x) * y).sum().item() == pytest.approx((x * backward(y)).sum().item(), abs=1e-9)


def test_the_usual_output_padding_is_shifted_by_one() -> None:
    layer = SameTransposed(1, 1, 5, 2, 1)
    x = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(0))
    usual = F.conv_transpose1d(x, layer.conv.weight, layer.conv.bias, 2, padding=2, output_padding=1)
    ours = layer(x)
    assert ours.shape == usual.shape
    torch.testing.assert_close(ours[..., 1:], usual[..., :-1])


def test_variance_of_weights() -> None:
    torch.manual_seed(0)
    down, up = SameConv(64, 128, 5, 2), SameTransposed(128, 64, 5, 2)
    wanted = 4 / (25 * (64 + 128 / 4))
    assert down.conv.weight.var().item() == pytest.approx(wanted, rel=0.02)
    assert up.conv.weight.var().item() == pytest.approx(4 / (25 * (128 / 4 + 64)), rel=0.02)
    assert isinstance(down.conv.bias, nn.Parameter)
    assert not down.conv.bias.any()


@pytest.mark.parametrize(
    ("kernel", "stride", "pads"), [(25, 4, (10, 11)), (5, 2, (1, 2)), (31, 2, (14, 15)), (4, 1, (1, 2))]
)
def test_same_padding_puts_the_odd_zero_behind(kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert same_padding(64, kernel, stride) == pads
