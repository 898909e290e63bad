from __future__ import annotations

import pytest
import torch

from pipeline.networks.architectures.sngan import (
    DiscriminatorPlan,
    SpectralDiscriminator,
)
from pipeline.networks.blocks.residual import Recipe
from pipeline.networks.layers.conv import Layers

PLAIN = Recipe(Layers())


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_projection_is_added_to_a_sum_over_the_map() -> None:
    critic = SpectralDiscriminator(DiscriminatorPlan(PLAIN, (4, 5), 1, 2, classes=3))
    x, label = torch.randn(2, 2, 8, 8), torch.tensor([2, 0])
    features = critic.features(x)
    assert critic.projection is not None
    wanted = critic.head(features).flatten() + (critic.projection.weight[label] * features).sum(1)
    torch.testing.assert_close(critic(x, label), wanted)
    torch.testing.assert_close(critic(x), critic.head(features).flatten())


def test_a_critic_halves_as_often_as_it_is_told() -> None:
    critic = SpectralDiscriminator(DiscriminatorPlan(PLAIN, (3, 4, 5, 6), 2, 1))
    x = torch.randn(1, 1, 16, 16)
    for layer in critic.layers:
        x = layer(x)
    assert x.shape == (1, 6, 4, 4)
