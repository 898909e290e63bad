"""What plug-ins and loop agree on. The loop knows nothing of any family but what stands here."""

from __future__ import annotations

from pipeline.contract.family import Advancing, AnyFamily, ConfigT, Family, Resizing
from pipeline.contract.optimisers import Optimiser, Ramp, Scheduled, scheduled_value
from pipeline.contract.rooms import Augmentation, Loss, Penalty, Scores
from pipeline.contract.turns import (
    Latent,
    LatentSpec,
    Networks,
    Objective,
    Phase,
    Player,
    Segment,
    State,
    Turn,
    draw_latents,
)
from pipeline.contract.worlds import LocalWorld, MemoryReporter, Record, Reporter, Scorer, World

__all__ = [
    "Advancing",
    "AnyFamily",
    "Augmentation",
    "ConfigT",
    "Family",
    "Latent",
    "LatentSpec",
    "LocalWorld",
    "Loss",
    "MemoryReporter",
    "Networks",
    "Objective",
    "Optimiser",
    "Penalty",
    "Phase",
    "Player",
    "Ramp",
    "Record",
    "Reporter",
    "Resizing",
    "Scheduled",
    "Scorer",
    "Scores",
    "Segment",
    "State",
    "Turn",
    "World",
    "draw_latents",
    "scheduled_value",
]
