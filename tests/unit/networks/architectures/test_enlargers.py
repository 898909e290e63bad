"""SRGAN's and ESRGAN's networks against formulas over their own weights, and what their figures say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.architectures import esrgan, srgan
from pipeline.networks.architectures.srgan import EnlargerPlan

SMALL = EnlargerPlan(3, 3, 4, 6, 2)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def conv(network: nn.Module, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """The convolution of this name, written out; same padding for stride 1, (k - 1) // 2 otherwise."""
    state = network.state_dict()
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, (weight.shape[-1] - 1) // 2)


def norm(network: nn.Module, name: str, x: Tensor) -> Tensor:
    """Batch norm of training mode, eps 1e-5."""
    state = network.state_dict()
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    gain, shift = (state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * gain + shift


def prelu(network: nn.Module, name: str, x: Tensor) -> Tensor:
    slope = network.state_dict()[f"{name}.weight"]
    return torch.where(x > 0, x, slope * x)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def shaken(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def test_srresnet_is_its_figure() -> None:
    network = shaken(srgan.SrResNet(SMALL)).train()
    x = torch.rand(2, 3, 5, 7)
    first = prelu(network, "first.1", conv(network, "first.0", x))
    y = first
    for number in range(2):
        at = f"blocks.{number}.branch"
        z = prelu(network, f"{at}.2", norm(network, f"{at}.1", conv(network, f"{at}.0", y)))
        y = y + norm(network, f"{at}.4", conv(network, f"{at}.3", z))
    y = first + norm(network, "join.1", conv(network, "join.0", y))
    for number in range(2):
        y = prelu(network, f"doublings.{number}.2", F.pixel_shuffle(conv(network, f"doublings.{number}.0", y), 2))
    torch.testing.assert_close(network(x), conv(network, "last", y), atol=1e-4, rtol=1e-4)


def test_rrdb_is_its_figure() -> None:
    network = shaken(esrgan.Rrdb(SMALL, growth=3, residual=0.2))
    x = torch.rand(2, 3, 5, 7)
    first = conv(network, "first", x)
    y = first
    for block in range(2):
        inside = y
        for dense in range(3):
            held = [inside]
            for layer in range(5):
                made = conv(network, f"blocks.{block}.dense.{dense}.layers.{layer}", torch.cat(held, 1))
                held.append(leaky(made) if layer < 4 else made)
            inside = inside + 0.2 * held[-1]
        y = y + 0.2 * inside
    y = first + conv(network, "join", y)
    for number in range(2):
        y = leaky(conv(network, f"doublings.{number}", y.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    y = conv(network, "last", leaky(conv(network, "fine", y)))
    torch.testing.assert_close(network(x), y, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [srgan.SrResNet, esrgan.Rrdb])
@pytest.mark.parametrize("scale", [2, 4])
def test_any_size_goes_in(make: Callable[[EnlargerPlan], nn.Module], scale: int) -> None:
    network = make(EnlargerPlan(1, 3, scale, 4, 1)).eval()
    for sides in ((1, 1), (7, 12)):
        assert network(torch.rand(1, 1, *sides)).shape == (1, 3, scale * sides[0], scale * sides[1])


def test_srgans_discriminator_has_strides_and_maps_of_its_figure() -> None:
    network = srgan.SrganDiscriminator(3, (96, 96), 64)
    layers = [each for each in network.features if isinstance(each, nn.Conv2d)]
    assert [each.out_channels for each in layers] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [each.stride[0] for each in layers] == [1, 2] * 4
    assert [each.bias is not None for each in layers] == [True] + [False] * 7
    assert sum(isinstance(each, nn.BatchNorm2d) for each in network.features) == 7
    assert network(torch.rand(2, 3, 96, 96)).shape == (2,)
    assert srgan.SrganDiscriminator(3, (17, 30), 2)(torch.rand(2, 3, 17, 30)).shape == (2,), "any sides"


def test_esrgans_discriminator_halves_five_times() -> None:
    network = esrgan.EsrganDiscriminator(3, (32, 64), 4)
    layers = [each for each in network.features if isinstance(each, nn.Conv2d)]
    assert [(each.out_channels, each.kernel_size[0], each.stride[0]) for each in layers] == [
        (maps, kernel, stride) for maps in (4, 8, 16, 32, 32) for kernel, stride in ((3, 1), (4, 2))
    ]
    assert sum(isinstance(each, nn.BatchNorm2d) for each in network.features) == 9
    assert network(torch.rand(2, 3, 32, 64)).shape == (2,)


def test_weights_begin_as_the_references() -> None:
    """He's variance 2 / fan-in; in dense blocks a tenth of its root; biases 0 in both."""
    network = srgan.SrResNet(EnlargerPlan(3, 3, 4, 64, 1))
    weight = network.state_dict()["blocks.0.branch.0.weight"]
    assert float(weight.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert not network.state_dict()["last.bias"].any()
    dense = esrgan.Rrdb(EnlargerPlan(3, 3, 4, 64, 1)).state_dict()
    assert float(dense["blocks.0.dense.0.layers.4.weight"].std()) == pytest.approx(
        0.1 * (2 / (192 * 9)) ** 0.5, rel=0.03
    )
    assert not dense["blocks.0.dense.0.layers.4.bias"].any()
