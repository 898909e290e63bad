from __future__ import annotations

import pytest
import torch

from pipeline.networks.layers.noise import noise_map, truncated_normal


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_noise_maps() -> None:
    constant = noise(3, 2)
    assert noise_map("none", constant, 4) is None
    assert noise_map("const", constant, 4) is constant
    drawn = noise_map(torch.Generator().manual_seed(0), constant, 4)
    assert drawn is not None
    assert drawn.shape == (4, 1, 3, 2)
    assert drawn[0].ne(drawn[1]).any()


def test_truncated_noise_is_the_conditioned_normal() -> None:
    z = torch.randn(200_000, generator=torch.Generator().manual_seed(3))
    for threshold, variance in ((1.0, 0.291125), (2.0, 0.773741)):
        cut = truncated_normal(z, threshold)
        assert cut.abs().max() <= threshold
        assert cut.mean().item() == pytest.approx(0, abs=0.01)
        assert cut.var().item() == pytest.approx(variance, rel=0.01)
        assert torch.equal(cut[:1000].argsort(), z[:1000].argsort())
    assert not truncated_normal(z, 0.0).any()
    torch.testing.assert_close(truncated_normal(z[:100], 30.0), z[:100])
