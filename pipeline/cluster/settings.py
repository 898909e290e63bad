"""The `run:` and `tune:` sections: where things run, and what is searched. Imports no Ray."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Settings


class RunSettings(Settings):
    """How it is run: never a dependency, never part of a fingerprint, changes no byte."""

    address: str = Field(default="", description="empty = a private local Ray; host:port = join that cluster")
    storage: str = Field(
        default=".work", min_length=1, description="scratch and checkpoints; shared by all nodes of a cluster"
    )
    num_workers: int = Field(default=2, ge=1, description="training workers; must divide train.lanes")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=1, gt=0, description="of each worker, where device is cuda")
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    score_beside: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="in-training scores by a task of their own, where a CPU (with CUDA: a GPU) is left for it",
    )
    max_failures: int = Field(default=3, ge=0, description="restarts of the workers before a training fails")
    cache_megabytes: int = Field(default=2048, ge=0, description="decoded data kept on disk and mapped; 0 = stream")
    spread_from: int = Field(
        default=10_000, ge=0, description="with several workers, so many examples or more are measured through Ray"
    )
    concurrent_trials: int | None = Field(default=None, ge=1, description="limit; empty = as the CPUs allow")

    @field_validator("address", mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        found = re.fullmatch(r"[A-Za-z0-9_.-]+:(\d+)|\[[0-9A-Fa-f:.]+\]:(\d+)", value)
        if value and not (found and 0 < int(found[1] or found[2]) < 65536):
            raise ValueError(f"'{value}' is no address; it must be host:port, such as 10.0.0.5:6379, or empty")
        return value

    @field_validator("storage")
    @classmethod
    def _outside_outs(cls, value: str) -> str:
        if Path(value).parts[:1] == ("artifacts",):
            raise ValueError(
                f"'{value}' is among DVC's outs, which are removed before a rerun; take a folder beside it"
            )
        return value


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
    mode: Literal["repeatable", "asynchronous"] = Field(
        default="repeatable", description="asynchronous ASHA suits clusters, and its result is not repeatable"
    )
    batch: int = Field(default=2, ge=1, description="trials suggested together; they learn of each other afterwards")
    examples: int = Field(default=15_360, gt=0, description="full length of a trial; a multiple of train.tick")
    first_rung: int = Field(default=5_120, gt=0, description="examples before a trial may be stopped")
    reduction: float = Field(default=2.0, gt=1, description="one in so many goes on past a rung")
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
        if self.first_rung > self.examples:
            raise ValueError(f"first_rung: {self.first_rung} is beyond examples: {self.examples}")
        return self
