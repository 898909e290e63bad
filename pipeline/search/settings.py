"""The `tune:` section: which settings are searched, how and for how long."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Settings


class Range(Settings):
    """One searched setting: exactly one of these."""

    choice: list[Any] | None = Field(default=None, min_length=1)
    uniform: tuple[float, float] | None = None
    loguniform: tuple[float, float] | None = None
    randint: tuple[int, int] | None = Field(default=None, description="both ends included")

    @model_validator(mode="after")
    def _one(self) -> Range:
        given = [name for name in ("choice", "uniform", "loguniform", "randint") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"must be exactly one of choice, uniform, loguniform, randint, not {given or 'none'}")
        bounds = self.uniform or self.loguniform or self.randint
        if bounds and bounds[0] >= bounds[1]:
            raise ValueError(f"{given[0]}: the first bound {bounds[0]} is not below the second {bounds[1]}")
        if self.loguniform and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform: bounds must be above 0, not {self.loguniform[0]}")
        return self


class TuneSettings(Settings):
    """The search over any dotted setting; what is not searched is as params.yaml says."""

    trials: int = Field(default=4, ge=0, description="0 = use the settings as they are")
    mode: Literal["repeatable", "asynchronous", "population"] = Field(
        default="repeatable",
        description="asynchronous ASHA suits clusters, and its result is not repeatable; population trains all trials "
        "together, copies good ones over bad ones and finds a schedule",
    )
    batch: int = Field(default=2, ge=1, description="trials suggested together; they learn of each other afterwards")
    examples: int = Field(default=15_360, gt=0, description="full length of a trial; a multiple of train.tick")
    first_rung: int = Field(default=5_120, gt=0, description="examples before a trial may be stopped")
    interval: int = Field(default=5_120, gt=0, description="examples between two rounds of a population")
    reduction: float = Field(default=2.0, gt=1, description="past a rung, one trial in this number goes on")
    startup: int = Field(default=4, ge=0, description="random suggestions before the model of TPE is used")
    seed: int = Field(default=0, ge=0, lt=2**32)
    workers_per_trial: int = Field(default=1, ge=1, description="above 1, a trial runs Ray Train inside")
    space: dict[str, Range] = Field(default_factory=dict, description="dotted setting: its range")

    @field_validator("space", mode="before")
    @classmethod
    def _no_space(cls, value: object) -> object:
        return {} if value is None else value

    @model_validator(mode="after")
    def _fits(self) -> TuneSettings:
        if self.mode != "population" and self.first_rung > self.examples:
            raise ValueError(f"first_rung: {self.first_rung} is beyond examples: {self.examples}")
        if self.mode == "population" and self.trials == 1:
            raise ValueError("trials: 1 is no population; it must be 2 or more, or 0 for the settings as they are")
        if self.mode == "population" and self.interval >= self.examples:
            raise ValueError(f"interval: {self.interval} leaves no round before examples: {self.examples}")
        return self
