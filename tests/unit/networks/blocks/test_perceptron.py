from __future__ import annotations

import torch

from pipeline.networks.blocks.perceptron import MaxoutPerceptron, ReluPerceptron


def test_perceptrons() -> None:
    generator = ReluPerceptron(3, (5, 4), 2)
    assert generator(torch.randn(7, 3)).shape == (7, 2)
    discriminator = MaxoutPerceptron(6, (4, 4), 3, 0.8, 0.5)
    x = torch.randn(7, 6)
    still = discriminator(x)
    assert still.shape == (7,)
    assert torch.equal(still, discriminator(x))
    one, two = (discriminator(x, torch.Generator().manual_seed(seed)) for seed in (1, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, discriminator(x, torch.Generator().manual_seed(2)))
