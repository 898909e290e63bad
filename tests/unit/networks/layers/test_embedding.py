from __future__ import annotations

import torch

from pipeline.networks.layers.embedding import LabelVector, join, one_hot


def test_one_hot() -> None:
    assert one_hot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


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
