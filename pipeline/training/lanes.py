"""Lanes: a step's global batch in fixed micro-batches, summed in one fixed binary tree.

Floating-point addition of two terms commutes bit for bit but does not associate. So the *shape*
of a sum decides its bytes. Lane gradients are summed by pairs inside a worker and by recursive
halving across workers, which is the same tree for any number of workers that divides the
lanes: the number of workers changes speed, never bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.contract import World
from pipeline.errors import SettingsError
from pipeline.types import Batch


def my_lanes(lanes: int, world: World) -> range:
    """The consecutive lanes of this rank.

    Raises:
        SettingsError: if the lanes do not divide among the workers.
    """
    if lanes % world.size:
        raise SettingsError(f"train.lanes: {lanes} lanes do not divide among {world.size} workers")
    share = lanes // world.size
    return range(world.rank * share, (world.rank + 1) * share)


class Tree:
    """Sums lists of tensors, added in lane order, as a balanced binary tree of pairs.

    Holds at most log2(lanes) partial sums.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[int, list[Tensor]]] = []

    def add(self, tensors: list[Tensor]) -> None:
        """The next lane's tensors."""
        height = 0
        while self._parts and self._parts[-1][0] == height:
            _, left = self._parts.pop()
            # Not in place: autograd may hand out one tensor as the gradient of two parameters.
            tensors = list(torch._foreach_add(left, tensors))
            height += 1
        self._parts.append((height, tensors))

    def total(self) -> list[Tensor]:
        """The sum; the number of lanes added must be a power of two."""
        if len(self._parts) != 1:
            raise ValueError("a tree takes a power of two of lanes")
        return self._parts[0][1]


def sum_over_ranks(tensors: Sequence[Tensor], world: World, fast: bool) -> list[Tensor]:
    """Sum equal lists over all ranks as one flat message; every rank gets equal bytes."""
    if world.size == 1:
        return list(tensors)
    flat = torch.cat([tensor.reshape(-1).to(torch.float32) for tensor in tensors])
    flat = world.all_reduce(flat) if fast else _halved(flat, world)
    pieces = flat.split([tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape).to(tensor.dtype) for piece, tensor in zip(pieces, tensors, strict=True)]


def _halved(flat: Tensor, world: World) -> Tensor:
    """The tree's sum over ranks by recursive halving, then doubling (Rabenseifner 2004), the nearest ranks first.

    In each round a rank keeps one half and sends the other, so that 2(n − 1)/n of the message moves, as in a ring;
    and every number is added in the pairs of the tree.
    """
    length, distance = len(flat), 1
    # Both halves of every round must be equally long.
    total = torch.nn.functional.pad(flat, (0, -length % world.size))
    while distance < world.size:
        low, high = total.chunk(2)
        kept, sent = (high, low) if world.rank & distance else (low, high)
        total = kept + world.exchange(sent.contiguous(), world.rank ^ distance)
        distance *= 2
    while distance > 1:
        distance //= 2
        other = world.exchange(total, world.rank ^ distance)
        total = torch.cat([other, total] if world.rank & distance else [total, other])
    return total[:length]


def cut(batch: Batch, size: int, count: int) -> list[Batch]:
    """Equal consecutive pieces of a batch."""
    pieces: list[Batch] = []
    for number in range(count):
        piece: Any = {name: values[number * size : (number + 1) * size] for name, values in batch.items()}  # pyright: ignore
        pieces.append(piece)
    return pieces
