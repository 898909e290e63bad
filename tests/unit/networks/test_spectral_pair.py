from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.architectures.sngan import CriticPlan, GeneratorPlan, SpectralCritic, SpectralGenerator
from pipeline.networks.blocks.bottleneck import DeepCriticBlock, DeepGeneratorBlock
from pipeline.networks.blocks.residual import CriticBlock, GeneratorBlock, Order, Recipe
from pipeline.networks.layers.attention import SelfAttention
from pipeline.networks.layers.embedding import LabelVector, join
from pipeline.networks.layers.norm import LinearBatchNorm, OffsetBatchNorm
from pipeline.networks.layers.spectral_norm import Layers

PLAIN = Recipe(Layers(spectral=False))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def names(module: nn.Module) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name, _ in module.named_parameters()))


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("mimicry", ["conv1", "conv2", "norm1", "norm2", "shortcut"]),
        ("biggan", ["conv1", "conv2", "shortcut", "norm1", "norm2"]),
        ("studio", ["norm1", "norm2", "shortcut", "conv1", "conv2"]),
    ],
)
def test_a_block_lists_its_parameters_as_its_reference(order: Order, wanted: list[str]) -> None:
    block = GeneratorBlock(4, 3, Recipe(Layers(False), order), nn.BatchNorm2d)
    assert names(block) == wanted
    critic = CriticBlock(4, 3, Recipe(Layers(False), order), halves=True)
    assert names(critic) == [name for name in wanted if not name.startswith("norm")]


def test_hidden_width_of_a_critic_block() -> None:
    assert CriticBlock(2, 5, PLAIN, True).conv1.weight.shape[0] == 2
    assert CriticBlock(2, 5, Recipe(Layers(False), wide=True), True).conv1.weight.shape[0] == 5


def test_a_rectified_shortcut_sees_relu_of_x() -> None:
    plain = CriticBlock(3, 3, PLAIN, False)
    rectified = CriticBlock(3, 3, Recipe(Layers(False), rectified_shortcut=True), False)
    rectified.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(rectified(x) - plain(x), F.relu(x) - x)
    torch.testing.assert_close(rectified(x.abs()), plain(x.abs()))


def test_attention_starts_as_nothing_and_weighs_2x2_maxima() -> None:
    layer = SelfAttention(8, Layers(False))
    x = torch.randn(2, 8, 6, 4)
    assert torch.equal(layer(x), x)
    assert layer.gamma.shape == ()
    with torch.no_grad():
        layer.gamma.fill_(1.0)
        layer.theta.weight.zero_()  # equal weights: every position sees the mean of g's maxima
    seen = F.max_pool2d(layer.g(x), 2).mean((2, 3), keepdim=True)
    torch.testing.assert_close(layer(x), x + layer.o(seen).expand_as(x))


def test_norms_from_conditions_start_from_plain_ones() -> None:
    x = torch.randn(6, 3, 4, 4)
    plain = nn.BatchNorm2d(3, affine=False)(x)
    offset, vector = OffsetBatchNorm(3, 5), LinearBatchNorm(3, 4, Layers(False))
    code = torch.randn(6, 4)
    with torch.no_grad():
        for norm in (offset, vector):
            norm.gain.weight.zero_()
            norm.bias.weight.zero_()
    torch.testing.assert_close(offset(x, torch.arange(6) % 5), plain)
    torch.testing.assert_close(vector(x, code), plain)
    with torch.no_grad():
        vector.gain.weight.normal_()
        vector.bias.weight.normal_()
    gain, bias = code @ vector.gain.weight.T, code @ vector.bias.weight.T
    torch.testing.assert_close(vector(x, code), plain * (1 + gain)[:, :, None, None] + bias[:, :, None, None])


def test_labels_as_vectors_and_joined_planes() -> None:
    z = torch.zeros(2, 3)
    one_hot = LabelVector(4)
    assert one_hot(torch.tensor([1, 3]), z).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]
    table = LabelVector(4, "embedding", 2)
    half = torch.tensor([[0.5, 0.5, 0, 0]])
    assert table.table is not None
    torch.testing.assert_close(table(half, z), table.table.weight[:2].mean(0, keepdim=True))
    assert LabelVector(0)(None, z).shape == (2, 0)
    joined = join(torch.zeros(2, 1, 2, 2), torch.tensor([[7.0], [8.0]]))
    assert joined[:, 1].flatten(1).tolist() == [[7] * 4, [8] * 4]


def plan(**keys: object) -> GeneratorPlan:
    usual: dict[str, object] = {"recipe": PLAIN, "base": (2, 3), "widths": (8, 4, 4), "channels": 2, "inputs": 6}
    return GeneratorPlan(**{**usual, **keys})  # pyright: ignore[reportArgumentType]


def test_chunks_of_noise_reach_their_block_alone() -> None:
    """With the first layer's weights at 0, only what enters by norms is left, and each block has its own chunk."""
    network = SpectralGenerator(plan(noise="chunks")).eval()
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, LinearBatchNorm):
            module.register_forward_hook(lambda _, given, __, name=name: seen.update({name: given[1]}))
    z = torch.arange(12.0).view(2, 6)
    image = network(z)
    assert image.shape == (2, 2, 8, 12)
    assert network.linear.in_features == 2
    assert [seen[f"layers.{block}.norm1"].tolist() for block in (0, 1)] == [z[:, 2:4].tolist(), z[:, 4:6].tolist()]


def test_deep_generators_see_noise_and_code_everywhere() -> None:
    network = SpectralGenerator(plan(noise="whole", classes=3, class_norm="linear", shared=5, depth=2))
    assert network.linear.in_features == 11
    blocks = [module for module in network.layers if isinstance(module, DeepGeneratorBlock)]
    assert [block.doubles for block in blocks] == [False, True, False, True]
    assert network(torch.randn(2, 6), torch.tensor([0, 2])).shape == (2, 2, 8, 12)


def test_deep_shortcuts_have_no_weights_of_their_own_where_maps_stay() -> None:
    up = DeepGeneratorBlock(8, 4, PLAIN, nn.BatchNorm2d, doubles=True)
    with torch.no_grad():
        up.conv4.weight.zero_()
        up.conv4.bias.zero_()
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(up(x, None), F.interpolate(x[:, :4], scale_factor=2))
    down = DeepCriticBlock(4, 8, PLAIN, halves=True)
    with torch.no_grad():
        down.conv4.weight.zero_()
        down.conv4.bias.zero_()
    x = torch.randn(2, 4, 4, 4)
    torch.testing.assert_close(down(x)[:, :4], F.avg_pool2d(x, 2))


def test_projection_is_added_to_a_sum_over_the_map() -> None:
    critic = SpectralCritic(CriticPlan(PLAIN, (4, 5), 1, 2, classes=3))
    x, label = torch.randn(2, 2, 8, 8), torch.tensor([2, 0])
    features = critic.features(x)
    assert critic.projection is not None
    wanted = critic.head(features).flatten() + (critic.projection.weight[label] * features).sum(1)
    torch.testing.assert_close(critic(x, label), wanted)
    torch.testing.assert_close(critic(x), critic.head(features).flatten())


def test_a_critic_halves_as_often_as_it_is_told() -> None:
    critic = SpectralCritic(CriticPlan(PLAIN, (3, 4, 5, 6), 2, 1, depth=0))
    x = torch.randn(1, 1, 16, 16)
    for layer in critic.layers:
        x = layer(x)
    assert x.shape == (1, 6, 4, 4)
