"""The pool of earlier fakes that a discriminator is shown (Shrivastava et al. 2017), as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def empty_pool(size: int, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """A pool that will hold `size` examples of `shape`: their numbers, and how many there are."""
    return {"held": torch.zeros(size, *shape), "count": torch.zeros((), dtype=torch.int64)}


@torch.no_grad()
def exchange(pool: Mapping[str, Tensor], fakes: Tensor, generator: torch.Generator) -> Tensor:
    """What the discriminator is shown for `fakes` (n, *shape); changes the pool in place.

    Until the pool is full each fake is kept and shown. Then, with probability ½, a random one of the
    pool is shown and the fake takes its place; else the fake is shown and not kept. A pool of size 0 shows all.
    """
    held, size = pool["held"], len(pool["held"])
    if size == 0:
        return fakes.detach()
    shown: list[Tensor] = []
    for fake in fakes.detach():
        count = int(pool["count"])
        if count < size:
            held[count] = fake
            pool["count"].add_(1)
            shown.append(fake)
            continue
        place = int(torch.randint(0, size, (), generator=generator))
        if float(torch.rand((), generator=generator)) < 0.5:
            shown.append(held[place].clone())
            held[place] = fake
        else:
            shown.append(fake)
    return torch.stack(shown)
