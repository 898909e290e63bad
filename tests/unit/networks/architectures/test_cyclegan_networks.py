from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.networks.architectures.cyclegan import Translator, TranslatorPlan


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_the_translator_keeps_the_size_and_reflects_its_borders() -> None:
    network = Translator(TranslatorPlan(1, 3, 4, 2))
    assert network(torch.rand(2, 1, 12, 20)).shape == (2, 3, 12, 20)
    padding = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.padding != (0, 0)]
    assert [layer.stride for layer in padding] == [(2, 2), (2, 2)], "only the halvings pad with zeros"


def test_biases_before_instance_norm_do_nothing() -> None:
    network, x = Translator(TranslatorPlan(1, 1, 4, 1)).double(), torch.rand(1, 1, 16, 16).double()
    before = network(x)
    with torch.no_grad():
        for module in list(network.modules())[:-3]:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.out_channels != 1:
                module.bias.add_(3.0)
    assert torch.allclose(network(x), before, atol=1e-9)
