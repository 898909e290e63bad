from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from pipeline.networks.architectures.vgg import DEVIATION, MEAN, Depth, Vgg, names, shapes

COUNTS = {16: 14_714_688, 19: 20_024_384}  # as published, without the classifier
LAST = {16: "features.28.weight", 19: "features.34.weight"}  # by torchvision's name


@pytest.mark.parametrize("depth", get_args(Depth))
def test_published_counts(depth: Depth) -> None:
    found = shapes(depth)
    assert sum(torch.Size(shape).numel() for shape in found.values()) == COUNTS[depth]
    assert [name for name in found if name.endswith("weight")][-1] == LAST[depth]


def test_its_maps_are_those_of_its_layers() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Vgg(19, ("relu1_2", "conv2_1", "relu5_4"))
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = network(x)
    normal = (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(DEVIATION).view(1, 3, 1, 1)

    def through(count: int) -> torch.Tensor:
        return nn.Sequential(*list(network.features)[:count])(normal)

    assert found["relu1_2"].shape == (1, 64, 32, 32)
    assert torch.equal(found["relu1_2"], through(4))
    assert torch.equal(found["conv2_1"], through(6))  # the pool between blocks is the fifth layer
    assert found["relu5_4"].shape == (1, 512, 2, 2)
    assert names(19)[-2:] == ["conv5_4", "relu5_4"]


def test_layers_beyond_the_last_tap_are_not_run() -> None:
    network = Vgg(16, ("conv1_1",))
    assert network(torch.rand(1, 3, 4, 4))["conv1_1"].shape == (1, 64, 4, 4)  # too small for the fifth block


def test_an_unknown_tap_is_refused() -> None:
    with pytest.raises(ValueError, match="conv9_9"):
        Vgg(19, ("conv9_9",))
