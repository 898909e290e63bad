from __future__ import annotations

import math

import torch

from pipeline.networks.blocks.image_pool import empty_pool, exchange


def test_a_pool_fills_first_and_shows_what_it_keeps() -> None:
    pool, source = empty_pool(3, (1,)), torch.Generator().manual_seed(0)
    fakes = torch.arange(3.0)[:, None]
    assert torch.equal(exchange(pool, fakes, source), fakes)
    assert torch.equal(pool["held"], fakes)
    assert int(pool["count"]) == 3


def test_of_a_full_pool_half_is_shown_and_the_fake_takes_its_place() -> None:
    pool, source = empty_pool(50, (1,)), torch.Generator().manual_seed(1)
    exchange(pool, -torch.ones(50, 1), source)
    old = total = 0
    for number in range(2000):
        before, fake = pool["held"].clone(), torch.tensor([[float(number)]])
        (shown,) = exchange(pool, fake, source)
        total += 1
        changed = (pool["held"] != before).flatten().nonzero().flatten()
        if torch.equal(shown, fake[0]):
            assert len(changed) == 0, "a fake that is shown is not kept"
        else:
            old += 1
            assert len(changed) == 1
            assert torch.equal(before[changed[0]], shown)
            assert torch.equal(pool["held"][changed[0]], fake[0])
    assert abs(old / total - 0.5) < 4 * 0.5 / math.sqrt(total)


def test_a_pool_keeps_no_graph_and_one_of_0_shows_all() -> None:
    fakes = torch.rand(4, 2, requires_grad=True)
    shown = exchange(empty_pool(0, (2,)), fakes, torch.Generator())
    assert torch.equal(shown, fakes.detach())
    pool = empty_pool(2, (2,))
    assert not exchange(pool, fakes, torch.Generator()).requires_grad
    assert not pool["held"].requires_grad
