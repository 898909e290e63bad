from __future__ import annotations

import torch

from pipeline.networks.layers.maxout import Maxout


def test_maxout_takes_the_largest_piece_of_each_unit() -> None:
    layer = Maxout(1, 2, 3)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0], [-2.0], [0.0], [4.0], [5.0], [6.0]]))
        layer.linear.bias.zero_()
    assert layer(torch.tensor([[1.0], [-1.0]])).tolist() == [[1.0, 6.0], [2.0, -4.0]]
