from __future__ import annotations

import pytest
import torch

from pipeline.networks.architectures.stylegan import JoinedMappingNetwork
from pipeline.networks.architectures.stylegan2 import MappingNetwork
from pipeline.networks.blocks.mapping import TrackedMean
from pipeline.networks.layers.embedding import one_hot


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_mapping_forgets_the_length_of_z_and_of_the_embedding() -> None:
    torch.manual_seed(0)
    mapping = MappingNetwork(8, 3, 6, layers=2)
    z, label = noise(4, 8), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(mapping(z, label), mapping(7 * z, label), rtol=1e-4, atol=1e-5)
    assert mapping.embed is not None
    before = mapping(z, label)
    with torch.no_grad():
        mapping.embed.weight.mul_(5)
    torch.testing.assert_close(mapping(z, label), before, rtol=1e-4, atol=1e-5)


def test_joined_mapping_normalises_both_together() -> None:
    torch.manual_seed(0)
    mapping = JoinedMappingNetwork(8, 3, 6, layers=1)
    z, label = noise(4, 8), torch.tensor([0, 1, 2, 0])
    assert not torch.allclose(mapping(z, label), mapping(7 * z, label), rtol=1e-2), "z grows against the label"
    plain = JoinedMappingNetwork(8, 0, 6, layers=1)
    torch.testing.assert_close(plain(z), plain(7 * z), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [MappingNetwork, JoinedMappingNetwork])
def test_float_labels_mix_classes(kind: type[MappingNetwork] | type[JoinedMappingNetwork]) -> None:
    torch.manual_seed(0)
    mapping = kind(4, 3, 5, 1)
    z, label = noise(2, 4), torch.tensor([2, 0])
    assert torch.equal(mapping(z, label), mapping(z, one_hot(label, 3)))
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
