from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.networks.blocks.strided_stacks import DownwardStack, StackPlan, Upsampling, UpwardStack


@settings(deadline=None, max_examples=20)
@given(
    base=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    levels=st.integers(1, 3),
    channels=st.integers(1, 4),
    upsampling=st.sampled_from(["transposed", "nearest"]),
)
def test_stacks_mirror_each_other_in_any_number_of_dimensions(
    base: list[int], levels: int, channels: int, upsampling: Upsampling
) -> None:
    widths = tuple(4 * 2**level for level in reversed(range(levels)))
    plan = StackPlan(tuple(base), widths, channels)
    upward = plan if upsampling == "transposed" else StackPlan(tuple(base), (*widths, 3), channels)
    x = UpwardStack(upward, 5, upsampling)(torch.randn(2, 5))
    assert x.shape == (2, channels, *(side * 2**levels for side in base))
    assert DownwardStack(plan)(x).shape == (2,)


def test_a_stack_doubles_by_the_paper() -> None:
    plan = StackPlan((4, 4), (512, 256, 128, 64), 3)
    with torch.device("meta"):
        up, down = UpwardStack(plan, 100), DownwardStack(plan)
        x = up(torch.empty(2, 100))
        assert x.shape == (2, 3, 64, 64)
        assert down(x).shape == (2,)
    assert [norm.num_features for norm in up.norms] == [512, 256, 128, 64]
    assert [level.out_channels for level in down.levels] == [64, 128, 256, 512]
    assert not any(layer.bias is not None for layer in (up.first, up.last, down.head, *up.levels, *down.levels))


def test_projection_adds_the_embedding_of_the_label() -> None:
    critic = DownwardStack(StackPlan((2, 2), (4,), 1, "none", True, 3))
    x, label = torch.randn(3, 1, 4, 4), torch.tensor([0, 1, 2])
    assert critic.projection is not None
    with torch.no_grad():
        plain = critic(x)
        critic.projection.weight.zero_()
        torch.testing.assert_close(critic(x, label), plain)
        critic.projection.weight[1] = 1.0
        moved = critic(x, label) - plain
    assert moved[0] == 0
    assert moved[1] != 0
    assert moved[2] == 0
