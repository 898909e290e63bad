from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.layers.spectral_norm import SpectralConv2d, SpectralEmbedding, SpectralLinear


def linear(weight: torch.Tensor) -> SpectralLinear:
    layer = SpectralLinear(weight.shape[1], weight.shape[0])
    layer.weight.data.copy_(weight)
    return layer


def test_only_u_is_stored_and_it_starts_normal() -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(3, 4000)
    assert [name for name, _ in layer.named_buffers()] == ["u"]
    assert layer.u.std().item() == pytest.approx(1, rel=0.05)
    assert SpectralConv2d(3, 7, 3).u.shape == (7,)
    assert SpectralEmbedding(5, 9).u.shape == (5,)


def test_sigma_after_k_calls_is_the_power_iteration() -> None:
    """Of diag(3, 1) from u = (1, 1): u_k ∝ (9^k, 1), and one more half step gives σ."""
    layer = linear(torch.diag(torch.tensor([3.0, 1.0])))
    for calls in range(4):
        layer.u.copy_(torch.ones(2))
        for _ in range(calls):
            layer.advance()
        v = F.normalize(torch.tensor([3 * 9.0**calls, 1.0]), dim=0)
        assert layer.sigma().item() == pytest.approx((9 * v[0] ** 2 + v[1] ** 2).sqrt().item(), rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 999))
def test_sigma_grows_towards_the_largest_singular_value(rows: int, columns: int, seed: int) -> None:
    weight = torch.randn((rows, columns), generator=torch.Generator().manual_seed(seed))
    layer = linear(weight)
    largest = torch.linalg.matrix_norm(weight, 2).item()
    found: list[float] = []
    for _ in range(40):
        found.append(layer.sigma().item())
        layer.advance()
    assert all(after >= before * (1 - 1e-5) for before, after in pairwise(found))
    assert found[-1] <= largest * (1 + 1e-5)
    assert found[-1] == pytest.approx(largest, rel=0.1)


def test_a_forward_stores_nothing_and_its_gradient_reaches_the_weight_alone() -> None:
    torch.manual_seed(1)
    layer = SpectralConv2d(2, 3, 3)
    before = layer.u.clone()
    layer.train()(torch.randn(1, 2, 5, 5)).sum().backward()
    assert torch.equal(layer.u, before)
    matrix = layer.weight.detach().flatten(1)
    v = F.normalize(matrix.T @ layer.u, dim=0)
    u = F.normalize(matrix @ v, dim=0)
    (gradient,) = torch.autograd.grad(layer.sigma(), layer.weight)
    torch.testing.assert_close(gradient.flatten(1), torch.outer(u, v))


def test_layers_are_divided_by_sigma_and_keep_their_bias() -> None:
    torch.manual_seed(2)
    layer = SpectralLinear(4, 3)
    x = torch.randn(2, 4)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight / layer.sigma(), layer.bias))
    table = SpectralEmbedding(4, 3)
    torch.testing.assert_close(table(torch.tensor([2])), (table.weight / table.sigma())[2:3])
