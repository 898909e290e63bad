from __future__ import annotations

import pytest
import torch

from pipeline.networks.layers.dropout import Dropper, dropout


def test_dropout_scales_what_it_keeps_and_repeats() -> None:
    x = torch.ones(100, 100)
    kept = dropout(x, 0.8, torch.Generator().manual_seed(0))
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert kept.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(kept, dropout(x, 0.8, torch.Generator().manual_seed(0)))
    assert dropout(x, 0.8, None) is x
    assert dropout(x, 1.0, torch.Generator()) is x


def test_examples_drop_by_seeds_of_their_own() -> None:
    x = torch.ones(3, 4, 16, 16)
    first = Dropper(torch.tensor([1, 2, 1]), 0.5)(x)
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert abs(float((first == 0).float().mean()) - 0.5) < 0.05
    swapped = Dropper(torch.tensor([2, 1, 1]), 0.5)(x)
    assert torch.equal(swapped[1], first[0])


def test_each_layer_draws_anew_and_a_share_of_0_drops_nothing() -> None:
    drop, x = Dropper(torch.tensor([5]), 0.5), torch.ones(1, 8, 8, 8)
    assert not torch.equal(drop(x), drop(x))
    assert torch.equal(Dropper(torch.tensor([5]), 0.0)(x), x)
