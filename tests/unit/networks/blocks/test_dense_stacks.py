from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.networks.blocks.dense_stacks import DenseDownward, DensePlan, DenseUpward


@pytest.mark.parametrize("kernel", [4, 5])
def test_stacks_end_at_their_base(kernel: Literal[4, 5]) -> None:
    plan = DensePlan((3, 2), (6, 4), 2, (7,), kernel, joined=2)
    code = torch.eye(2)
    image = DenseUpward(plan, 5)(torch.randn(2, 5), code)
    assert image.shape == (2, 2, 12, 8)
    down = DenseDownward(plan)
    assert down.features(image, code).shape == (2, 7)
    assert down(image, code).shape == (2,)


def test_doubling_with_kernel_five_is_the_gradient_of_the_halving() -> None:
    """Theano's deconvolution: what a 5/2 convolution padded by 2 carries back to its input."""
    plan = DensePlan((4, 4), (3,), 1)
    layer = DenseUpward(plan, 2).last
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    y = F.conv2d(x, layer.weight, None, 2, 2)
    given = torch.randn_like(y)
    (back,) = torch.autograd.grad(y, x, given)
    torch.testing.assert_close(layer(given), back)


def test_units_stand_by_map_or_by_place() -> None:
    """Two maps of 2×3: by map the second number is the first map's second place, by place the second map's first."""
    units = torch.arange(12.0)[None]
    by_map, by_place = (DensePlan((2, 3), (2,), 1, places_first=places) for places in (False, True))
    assert by_map.spread(units)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert by_place.spread(units)[0, 0].tolist() == [[0, 2, 4], [6, 8, 10]]
    for plan in (by_map, by_place):
        assert torch.equal(plan.gather(plan.spread(units)), units)


@pytest.mark.parametrize("places", [False, True])
def test_dense_layers_meet_the_maps_in_their_order(places: bool) -> None:
    plan = DensePlan((2, 3), (2,), 1, (4,), places_first=places)
    up, down, code = DenseUpward(plan, 3).eval(), DenseDownward(plan).eval(), torch.zeros(2, 0)
    seen: list[torch.Tensor] = []
    up.dense[-1].register_forward_hook(lambda _, given, out: seen.append(out))
    up.last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    up(torch.randn(2, 3), code)
    units, maps = seen
    torch.testing.assert_close(maps, plan.spread(F.relu(units)))
    down.dense[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    x = torch.randn(2, 1, 4, 6)
    down(x, code)
    torch.testing.assert_close(seen[-1], plan.gather(F.leaky_relu(down.first(x), 0.2)))


def test_batch_norm_is_of_each_unit_and_can_be_bare() -> None:
    up = DenseUpward(DensePlan((4, 4), (8, 4), 3), 10)
    assert up.dense[0].norm.num_features == 128
    assert not any(isinstance(module, nn.Linear) and module.bias is not None for module in up.modules())
    bare = DenseUpward(DensePlan((4, 4), (8, 4), 3, affine=False), 10)
    assert sum(p.numel() for p in bare.parameters()) == 10 * 128 + 8 * 4 * 25 + 4 * 3 * 25
