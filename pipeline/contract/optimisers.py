"""Optimisers and their values that move on the clock of examples seen."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.settings import Settings


class Ramp(Settings):
    """A value that waits for `after` examples, moves from one end to the other over `examples`, then stays.

    `geometric` moves by equal factors; both ends must then be above 0.
    """

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    examples: int = Field(gt=0)
    after: int = Field(default=0, ge=0)
    shape: Literal["linear", "cosine", "geometric"] = "linear"

    @model_validator(mode="after")
    def _positive(self) -> Ramp:
        if self.shape == "geometric" and min(self.start, self.end) <= 0:
            raise ValueError("shape: geometric needs both ends above 0")
        return self


Scheduled = Annotated[float, Field(ge=0)] | Ramp


def scheduled_value(scheduled: Scheduled, examples_seen: int) -> float:
    """A setting at this point of the clock; ramps stay at their end."""
    if isinstance(scheduled, (int, float)):
        return float(scheduled)
    share = min(max(examples_seen - scheduled.after, 0) / scheduled.examples, 1.0)
    if scheduled.shape == "geometric":
        return scheduled.start * (scheduled.end / scheduled.start) ** share
    if scheduled.shape == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return scheduled.start + (scheduled.end - scheduled.start) * share


class Optimiser(Settings):
    """One player's optimiser; every value that may move does so on the clock of examples seen.

    `adam` is Kingma & Ba 2015; `rmsprop` is torch's (eps outside the root); `sgd` takes
    `momentum`.
    """

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: Scheduled = 2e-4
    beta1: Scheduled = 0.5
    beta2: Scheduled = 0.999
    eps: float = Field(default=1e-8, gt=0)
    momentum: Scheduled = 0.0
    weight_decay: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _moves(self) -> Optimiser:
        if max(_ends(self.lr)) == 0:
            raise ValueError("lr: 0 is not allowed; it must be above 0, or nothing is learnt")
        for name, value in (("beta1", self.beta1), ("beta2", self.beta2), ("momentum", self.momentum)):
            if max(_ends(value)) >= 1:
                raise ValueError(f"{name}: {max(_ends(value)):g} is not allowed; it must be below 1")
        return self


def _ends(scheduled: Scheduled) -> tuple[float, float]:
    return (scheduled.start, scheduled.end) if isinstance(scheduled, Ramp) else (scheduled, scheduled)
