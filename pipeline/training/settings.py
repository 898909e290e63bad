"""The `train:` section: what is computed. How it is run stands in `run:`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.settings import Settings


class Averaging(Settings):
    """The exponential moving average (EMA) of the published networks, on the clock of examples."""

    half_life: float = Field(default=10_000, gt=0, description="examples after which old weights count half")
    ramp: float | None = Field(
        default=0.05, gt=0, description="half-life is at most this share of the examples seen so far; null = no ramp"
    )


class InTrainingScore(Settings):
    """The small-n score during training; `n` and `seed` are equal at every reading."""

    every: int = Field(default=10_240, gt=0, description="examples between readings")
    samples: int = Field(default=512, ge=16, description="samples scored")
    seed: int = Field(default=0, ge=0)


class Health(Settings):
    """When a run counts as unhealthy, and what is done about it."""

    rollbacks: int = Field(default=3, ge=0, description="returns to the last checkpoint after NaN before giving up")
    vanishing_norm: float = Field(default=1e-7, ge=0, description="a mean gradient norm below this is vanishing")
    collapse_spread: float = Field(default=0.05, ge=0, description="feature variance of samples / of data below this")
    collapse_recall: float = Field(default=0.01, ge=0, description="recall below this, with low spread or not")
    grace: int = Field(default=20_000, ge=0, description="examples before collapse is looked for")


class TrainSettings(Settings):
    """What is trained, on which clock. All counts are in examples seen."""

    family: str = Field(default="dcgan", description="a file in pipeline/families; its keys stand in families.<name>")
    seed: int = Field(default=0, ge=0)
    examples: int = Field(default=64_000, gt=0, description="real examples drawn in all")
    batch_size: int = Field(default=64, gt=0, description="global batch")
    lanes: int = Field(default=2, gt=0, description="fixed micro-batches of a step; a power of two")
    threads_per_lane: int = Field(default=1, gt=0, le=256)
    reduction: Literal["tree", "fast"] = Field(
        default="tree", description="tree: same bytes for any number of workers; fast: all-reduce, bytes may differ"
    )
    flip: bool = Field(default=False, description="random horizontal flips of the data")
    tick: int = Field(default=2_560, gt=0, description="examples between lines of progress")
    checkpoint: int = Field(default=12_800, gt=0, description="examples between checkpoints; a multiple of tick")
    keep: int = Field(default=2, ge=1, description="checkpoints kept beside the best")
    publish: Literal["last", "best"] = Field(default="last", description="which checkpoint becomes artifacts/model")
    averaging: Averaging = Averaging()
    score: InTrainingScore = InTrainingScore()
    grid: int = Field(default=12_800, gt=0, description="examples between sample grids; a multiple of tick")
    health: Health = Health()

    @model_validator(mode="after")
    def _fits(self) -> TrainSettings:
        if self.lanes & (self.lanes - 1):
            raise ValueError(f"lanes: {self.lanes} is not a power of two; take {1 << (self.lanes.bit_length() - 1)}")
        if self.batch_size % self.lanes:
            raise ValueError(f"batch_size: {self.batch_size} does not divide into lanes: {self.lanes}")
        for name, value in (("checkpoint", self.checkpoint), ("grid", self.grid), ("score.every", self.score.every)):
            if value % self.tick:
                raise ValueError(f"{name}: {value} is not a multiple of tick: {self.tick}")
        if self.examples % self.tick:
            raise ValueError(f"examples: {self.examples} is not a multiple of tick: {self.tick}")
        return self
