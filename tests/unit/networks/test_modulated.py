from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.networks.architectures.stylegan import JoinedMapping
from pipeline.networks.architectures.stylegan2 import Mapping
from pipeline.networks.blocks.mapping import TrackedMean
from pipeline.networks.layers.embedding import class_weights
from pipeline.networks.layers.modulated_conv import StyledConv, ToImage, demodulation, modulated
from pipeline.networks.layers.noise import noise_map


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_modulation_on_activations_is_modulation_of_weights() -> None:
    """Equation 1: w′ = s·w for each example."""
    x, weight, style = noise(3, 4, 5, 6), noise(2, 4, 3, 3, seed=1), noise(3, 4, seed=2)
    y = modulated(x, weight, style)
    for n in range(3):
        own = weight * style[n].view(1, -1, 1, 1)
        torch.testing.assert_close(y[n : n + 1], F.conv2d(x[n : n + 1], own, padding=1))


def test_demodulation_gives_weights_of_unit_norm() -> None:
    """Equation 3: Σ (s·w·d)² = 1 for every example and output map."""
    weight, style = noise(5, 4, 3, 3), noise(3, 4, seed=1)
    d = demodulation(weight, style)
    assert d.shape == (3, 5)
    full = weight[None] * style[:, None, :, None, None] * d[:, :, None, None, None]
    torch.testing.assert_close(full.square().sum((2, 3, 4)), torch.ones(3, 5))


def test_styled_layer_keeps_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer = StyledConv(64, 64, 8, (10, 10), up=False, clamp=None)
    y = layer(noise(32, 64, 10, 10), 30 * noise(32, 8, seed=1), "none")[..., 1:-1, 1:-1]
    assert y.square().mean().item() == pytest.approx(1.04, rel=0.1), "√2·leaky keeps the second moment"


def test_noise_starts_without_strength_and_then_adds() -> None:
    torch.manual_seed(0)
    layer = StyledConv(4, 4, 6, (5, 5), up=False, clamp=None)
    x, w = noise(2, 4, 5, 5), noise(2, 6)
    still = layer(x, w, "none")
    assert torch.equal(layer(x, w, "const"), still)
    with torch.no_grad():
        layer.noise_strength.fill_(0.5)
    assert not torch.equal(layer(x, w, "const"), still)
    drawn = [layer(x, w, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_noise_maps() -> None:
    constant = noise(3, 2)
    assert noise_map("none", constant, 4) is None
    assert noise_map("const", constant, 4) is constant
    drawn = noise_map(torch.Generator().manual_seed(0), constant, 4)
    assert drawn is not None
    assert drawn.shape == (4, 1, 3, 2)
    assert drawn[0].ne(drawn[1]).any()


def test_up_doubles_and_image_head_has_no_demodulation() -> None:
    torch.manual_seed(0)
    w = noise(2, 6)
    assert StyledConv(4, 3, 6, (8, 6), up=True, clamp=256.0)(noise(2, 4, 4, 3), w, "const").shape == (2, 3, 8, 6)
    head = ToImage(4, 3, 6, clamp=None)
    x = noise(2, 4, 5, 5)
    torch.testing.assert_close(head(3 * x, w), 3 * head(x, w))
    style = head.affine(w) / math.sqrt(4)
    torch.testing.assert_close(head(x, w), modulated(x, head.weight, style))
    assert ToImage(4, 3, 6, clamp=0.1)(1e3 * x, w).abs().max().item() == pytest.approx(0.1)


# --- mappings ---------------------------------------------------------------------------------


def test_mapping_forgets_the_length_of_z_and_of_the_embedding() -> None:
    torch.manual_seed(0)
    mapping = Mapping(8, 3, 6, layers=2)
    z, label = noise(4, 8), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(mapping(z, label), mapping(7 * z, label), rtol=1e-4, atol=1e-5)
    assert mapping.embed is not None
    before = mapping(z, label)
    with torch.no_grad():
        mapping.embed.weight.mul_(5)
    torch.testing.assert_close(mapping(z, label), before, rtol=1e-4, atol=1e-5)


def test_joined_mapping_normalises_both_together() -> None:
    torch.manual_seed(0)
    mapping = JoinedMapping(8, 3, 6, layers=1)
    z, label = noise(4, 8), torch.tensor([0, 1, 2, 0])
    assert not torch.allclose(mapping(z, label), mapping(7 * z, label), rtol=1e-2), "z grows against the label"
    plain = JoinedMapping(8, 0, 6, layers=1)
    torch.testing.assert_close(plain(z), plain(7 * z), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [Mapping, JoinedMapping])
def test_float_labels_mix_classes(kind: type[Mapping] | type[JoinedMapping]) -> None:
    torch.manual_seed(0)
    mapping = kind(4, 3, 5, 1)
    z, label = noise(2, 4), torch.tensor([2, 0])
    assert torch.equal(mapping(z, label), mapping(z, class_weights(label, 3)))
    half = torch.tensor([[0.5, 0.5, 0.0]]).expand(2, -1)
    assert not torch.allclose(mapping(z, half), mapping(z, label))
    with pytest.raises(ValueError, match="needs labels"):
        mapping(z, None)


def test_the_mean_of_w_moves_in_training_alone() -> None:
    mean = TrackedMean(2, beta=0.75)
    w = torch.tensor([[4.0, 0.0], [8.0, 4.0]])
    mean.track(w)
    assert mean.w_avg.tolist() == [1.5, 0.5]
    mean.eval()
    mean.track(w)
    assert mean.w_avg.tolist() == [1.5, 0.5]
    torch.testing.assert_close(mean.truncate(w, 0.0), mean.w_avg.expand(2, -1))
    assert mean.truncate(w, 1.0) is w
    assert mean.truncate(w, 0.5)[0].tolist() == [2.75, 0.25]
