from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pipeline.networks.architectures.adversarial_cryptography import CipherNetwork


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_as_many_bits_come_out(variant: str, bits: int) -> None:
    sent = CipherNetwork(2 * bits, bits, variant)(torch.randn(3, 2 * bits))  # pyright: ignore[reportArgumentType]
    assert sent.shape == (3, bits)
    assert sent.abs().max() < 1


def test_the_code_s_square_kernels_see_one_column() -> None:
    network, x = CipherNetwork(8, 4, "code"), torch.randn(2, 8)
    before = network(x)
    with torch.no_grad():
        network.levels[0].conv.weight[..., 1].add_(5.0)
    assert torch.equal(network(x), before)
    with torch.no_grad():
        network.levels[0].conv.weight[..., 0].add_(5.0)
    assert not torch.equal(network(x), before)


def test_the_paper_s_convolutions_by_hand() -> None:
    network, x = CipherNetwork(8, 4, "paper"), torch.randn(1, 8)
    y = torch.sigmoid(network.dense(x))[:, None]
    for level, pads in zip(network.levels, ((1, 2), (0, 0), (0, 0), (0, 0)), strict=True):
        layer = level.conv
        y = F.conv1d(F.pad(y, pads), layer.weight, layer.bias, stride=layer.stride)
        y = torch.tanh(y) if level is network.levels[-1] else torch.sigmoid(y)
    assert torch.allclose(network(x), y[:, 0], atol=1e-6)
