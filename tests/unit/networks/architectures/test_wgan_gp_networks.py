from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.architectures.wgan_gp import StridedCritic, StridedGenerator, StridedPlan, halvings


@settings(deadline=None, max_examples=15)
@given(height=st.integers(4, 40), width=st.integers(4, 40), levels=st.integers(1, 3))
def test_strided_networks_reach_any_size(height: int, width: int, levels: int) -> None:
    plan = StridedPlan((height, width), (8, 4, 2)[:levels], 2)
    x = StridedGenerator(plan, 3)(torch.randn(2, 3))
    assert x.shape == (2, 2, height, width)
    critic = StridedCritic(plan)
    assert critic(x).shape == (2, critic.features)


def test_halvings_round_up() -> None:
    assert halvings((28, 30), 3) == [(28, 30), (14, 15), (7, 8), (4, 4)]
