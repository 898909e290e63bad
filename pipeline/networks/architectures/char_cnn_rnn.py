"""Char-CNN-RNN, Reed et al. 2016: convolutions over characters, a recurrence over what they found, a projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{} "
"""70 slots. The hyphen stands twice, and the authors' table keeps the last: slot 37 is never lit."""

SLOTS = {character: slot for slot, character in enumerate(ALPHABET, 1)}
MAPS = (384, 512)  # of the first two convolutions
KERNEL, POOL = 4, 3
BOUND = 0.08  # weights and biases begin as U(−0.08, 0.08)
LEAST = 1e-6  # what is not above it counts as 0 behind a convolution

Recurrence = Literal["rnn", "gru"]


@dataclass(frozen=True, slots=True)
class CharPlan:
    """length: characters that are read. width: of the recurrence. dimension: numbers in a vector."""

    length: int
    width: int
    dimension: int
    recurrence: Recurrence

    @property
    def pooled(self) -> bool:
        """Whether a third pooling, of 3 by steps of 2, stands before the recurrence."""
        return self.recurrence == "rnn"

    @property
    def steps(self) -> int:
        """Steps of the recurrence: 8 or 18 of 201 characters; less than 1 where they are too few."""
        found = self.length - KERNEL + 1
        for _ in MAPS:
            found = found // POOL - KERNEL + 1
        return (found - POOL) // 2 + 1 if self.pooled else found


class CharCnnRnn(nn.Module):
    """Slots of characters (n, length), whole numbers from 1 to 70 and 0 for none → vectors (n, dimension)."""

    def __init__(self, plan: CharPlan) -> None:
        super().__init__()
        self.plan = plan
        self.conv1 = nn.Conv1d(len(ALPHABET), MAPS[0], KERNEL)
        self.conv2 = nn.Conv1d(MAPS[0], MAPS[1], KERNEL)
        self.conv3 = nn.Conv1d(MAPS[1], plan.width, KERNEL)
        self.rnn = ReluRecurrence(plan.width) if plan.recurrence == "rnn" else GatedRecurrence(plan.width)
        self.emb_proj = nn.Linear(plan.width, plan.dimension)

    def begin(self, generator: torch.Generator) -> None:
        """Draw all weights and biases."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-BOUND, BOUND, generator=generator)

    def forward(self, slots: Tensor) -> Tensor:
        one_hot = F.one_hot(slots, len(ALPHABET) + 1)[..., 1:].transpose(1, 2)
        x = F.max_pool1d(cut(self.conv1(one_hot.to(self.conv1.weight.dtype))), POOL)
        x = F.max_pool1d(cut(self.conv2(x)), POOL)
        x = cut(self.conv3(x))
        if self.plan.pooled:
            x = F.max_pool1d(x, POOL, 2)
        return self.emb_proj(self.rnn(x.transpose(1, 2)))


class ReluRecurrence(nn.Module):
    """h₁ = relu(Wx₁ + b), hᵢ = relu(Wxᵢ + b + Uhᵢ₋₁ + c): (n, steps, width) → the mean of all hᵢ (n, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.i2h, self.h2h = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        given = self.i2h(x)
        states = [given[:, 0].relu()]
        for step in range(1, x.shape[1]):
            states.append((given[:, step] + self.h2h(states[-1])).relu())
        return torch.stack(states, dim=1).mean(1)


class GatedRecurrence(nn.Module):
    """The authors' GRU: h₁ = tanh(Wx₁ + b); then h̃ = tanh(Wxᵢ + b + U(r⊙hᵢ₋₁) + c), hᵢ = u⊙h̃ + (1 − u)⊙hᵢ₋₁.

    (n, steps, width) → the mean of all hᵢ (n, width). In torch.nn.GRU r multiplies Uh + c, and u stands for 1 − u.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.i2h_update, self.h2h_update = nn.Linear(width, width), nn.Linear(width, width)
        self.i2h_reset, self.h2h_reset = nn.Linear(width, width), nn.Linear(width, width)
        self.i2h, self.h2h = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        given, for_update, for_reset = self.i2h(x), self.i2h_update(x), self.i2h_reset(x)
        states = [given[:, 0].tanh()]
        for step in range(1, x.shape[1]):
            before = states[-1]
            update = (for_update[:, step] + self.h2h_update(before)).sigmoid()
            reset = (for_reset[:, step] + self.h2h_reset(before)).sigmoid()
            candidate = (given[:, step] + self.h2h(reset * before)).tanh()
            states.append(update * candidate + (1 - update) * before)
        return torch.stack(states, dim=1).mean(1)


def cut(x: Tensor) -> Tensor:
    """x where it is above 1e-6, else 0."""
    return F.threshold(x, LEAST, 0.0)


def slots_of(text: str, length: int) -> list[int]:
    """The slots of the first `length` characters, in small letters, then 0; unknown ones are a space."""
    found = [SLOTS.get(each, SLOTS[" "]) for each in text.lower()[:length]]
    return found + [0] * (length - len(found))
