from __future__ import annotations

import pytest
import torch
from inceptions import random_state
from torch import Tensor, nn

from pipeline.networks.architectures import inception
from pipeline.networks.architectures.inception import (
    LAYERS,
    TAPS,
    Inception,
    Mixed7,
    Normalised,
    Tap,
    fold,
    mean_around,
    shapes,
)
from tests.bench import plain_inception

pytestmark = pytest.mark.slow  # the whole network, twice


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1


def built(tap: Tap, state: dict[str, Tensor], *, folded: bool) -> Inception:
    network = Inception(tap, folded=folded)
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert all(tap < 2048 for _ in unexpected)
    return network.eval().requires_grad_(False)


def close(a: Tensor, b: Tensor, relative: float = 1e-5) -> bool:
    return float((a - b).abs().max()) <= relative * float(b.abs().max())


def test_it_is_the_plain_network_folded_or_not(images: Tensor) -> None:
    state = random_state()
    expected, expected_logits = plain_inception.features(state, images, 2048)
    for network in (built(2048, state, folded=False), built(2048, fold(state), folded=True)):
        features, logits = network(images)
        assert features.shape == (2, 2048)
        assert logits is not None
        assert expected_logits is not None
        assert logits.shape == (2, 1008)
        assert close(features, expected)
        assert close(logits, expected_logits)
        assert float(expected.std()) > 0.05  # alive: equality says something


@pytest.mark.parametrize("tap", [64, 192, 768])
def test_lower_taps_end_there(tap: Tap, images: Tensor) -> None:
    state = fold(random_state())
    features, logits = built(tap, state, folded=True)(images[:1])
    assert logits is None
    assert features.shape == (1, tap)
    assert close(features, plain_inception.features(state, images[:1], tap)[0])


def test_taps_hold_the_layers_they_need_and_no_more() -> None:
    expected: set[str] = set()
    for tap in TAPS:
        expected |= set(LAYERS[tap])
        assert {name.split(".")[0] for name in shapes(tap)} == expected
    # 94 convolutions and fc, each a weight and a bias; 23.9 M numbers, as published.
    folded = shapes()
    assert len(folded) == 2 * 95
    assert folded["fc.weight"] == (1008, 2048)
    assert folded["Mixed_6e.branch7x7dbl_5.weight"] == (192, 192, 1, 7)
    assert len(shapes(folded=False)) == 5 * 94 + 2
    assert shapes(folded=False)["Conv2d_1a_3x3.bn.running_var"] == (32,)


def test_means_leave_the_padding_out() -> None:
    # 0 1 2 / 3 4 5 / 6 7 8: a corner's mean is of four numbers, a side's of six.
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = torch.tensor([[2.0, 2.5, 3.0], [3.5, 4.0, 4.5], [5.0, 5.5, 6.0]])
    assert torch.equal(mean_around(x)[0, 0], expected)
    assert torch.equal(mean_around(torch.ones(1, 2, 8, 8)), torch.ones(1, 2, 8, 8))


def passing(block: Mixed7) -> Mixed7:
    """Its pooling branch lets channel 0 through as it is."""
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    block.branch_pool.weight.data[0, 0, 0, 0] = 1
    return block.requires_grad_(False)


def test_the_last_block_takes_a_maximum_and_the_one_before_a_mean() -> None:
    network = Inception()
    x = torch.zeros(1, 2048, 3, 3)
    x[0, 0] = torch.arange(9.0).reshape(3, 3)
    pooled = {}
    for name, before in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        pooled[name] = passing(getattr(network, name))(x[:, :before])[0, 2048 - 192]
    assert torch.equal(pooled["Mixed_7b"], mean_around(x)[0, 0])
    assert torch.equal(pooled["Mixed_7c"], torch.tensor([[4.0, 5.0, 5.0], [7.0, 8.0, 8.0], [7.0, 8.0, 8.0]]))


def test_logits_have_no_bias(images: Tensor) -> None:
    state = fold(random_state())
    louder = {**state, "fc.bias": state["fc.bias"] + 100}
    network = built(2048, state, folded=True)
    features, logits = network(images[:1])
    assert logits is not None
    assert torch.equal(logits, features @ state["fc.weight"].T)
    network.load_state_dict(louder)
    assert torch.equal(network(images[:1])[1], logits)


def test_folding_is_batch_norm_s_formula() -> None:
    unit = Normalised(2, 3, 1).eval()
    for parameter in (unit.bn.weight, unit.bn.bias, unit.bn.running_mean):
        assert parameter is not None
        nn.init.normal_(parameter)
    nn.init.uniform_(unit.bn.running_var, 1e-4, 2.0)  # as small as eps: its place under the root shows
    state = {f"a.{name}": tensor for name, tensor in unit.state_dict().items()}
    folded = fold(state)
    x = torch.randn(4, 2, 5, 5)
    by_hand = torch.nn.functional.conv2d(x, folded["a.weight"], folded["a.bias"]).relu()
    assert torch.allclose(by_hand, unit(x), atol=1e-5)
    assert set(folded) == {"a.weight", "a.bias"}
    assert inception.EPS == 1e-3
