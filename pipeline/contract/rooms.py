"""What a file in `losses/`, `penalties/` and `augmentation/` has to offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pipeline.contract.turns import State


class Loss(Protocol):
    """A pair of pure functions of logits; both return a scalar mean over the batch.

    needs_real: whether `generator` looks at logits on reals (relativistic losses do).
    signed: whether a logit above 0 says “real”, so that its sign can be counted (accuracy, ADA).
    """

    needs_real: bool
    signed: bool

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises."""
        ...

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """What the generator minimises; only relativistic losses look at `real`."""
        ...


Scores = Callable[[Tensor], Tensor]
"""What a discriminator says of examples (n, …): a number for each, (n,)."""


class Penalty(Protocol):
    """A pure function of (discriminator, real, fake), already weighted; scalar mean over the batch.

    needs_fake: whether it looks at `fake`; where not, anything of its shape may be handed in.
    per_example: whether it asks something of the gradient at each example, which batch norm would blur.
    """

    needs_fake: bool
    per_example: bool

    def __call__(
        self, discriminator: Scores, real: Tensor, fake: Tensor, generator: torch.Generator, examples_seen: int = 0
    ) -> Tensor:
        """`discriminator` gives a number for each example; `examples_seen` is the clock of a scheduled weight."""
        ...


class Augmentation(Protocol):
    """What the discriminator is shown in place of images: differentiable, every draw from the handed generator.

    Reals and fakes pass it alike, in the generator's turn too. Its own state (ADA's p) lives in
    `State.tensors` and moves in `Family.after_step`.
    """

    def state(self) -> dict[str, Tensor]:
        """Initial tensors for `Family.state`."""
        ...

    def __call__(self, x: Tensor, state: State, generator: torch.Generator) -> Tensor:
        """Images (n, c, h, w), each changed by draws of its own; same shape."""
        ...

    def after_step(self, state: State, sign: float | None) -> None:
        """Move its state by a step's mean of sign D(real), averaged over lanes; None if D did not play."""
        ...
