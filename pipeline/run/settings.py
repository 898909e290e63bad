"""The `run:` section: where things run, and on how much."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.run import addresses
from pipeline.settings import Settings, UserPath
from pipeline.storage.filesystems import check_storage, looks_remote

Count = Annotated[int, Field(ge=1)]


class RunSettings(Settings):
    """How it is run: never a dependency, never part of a fingerprint, changes no byte."""

    address: str = Field(
        default="",
        description="empty = a private local Ray; host:port = join that cluster; http://head:8265 = submit jobs; "
        "env = what RAY_ADDRESS says",
    )
    storage: UserPath = Field(
        default=".work",
        min_length=1,
        description="scratch and checkpoints: a folder, shared by all nodes of a cluster, or s3://bucket/prefix",
    )
    num_workers: Count | tuple[Count, Count] = Field(
        default=2, description="training workers, a divisor of train.lanes; [least, most] = as the cluster has room"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=1, gt=0, description="of each worker, where device is cuda")
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    score_beside: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="in-training scores by a task of their own, where a CPU (with CUDA: a GPU) is left for it",
    )
    resize_interval: float = Field(
        default=60.0, gt=0, description="seconds between two looks at whether [least, most] workers could be more"
    )
    max_failures: int = Field(default=3, ge=0, description="restarts of the workers before a training fails")
    collective_timeout: int = Field(
        default=600, ge=1, description="seconds after which a worker that does not answer the others counts as lost"
    )
    cache_megabytes: int = Field(
        default=2048,
        ge=0,
        description="decoded data that a machine keeps on disk and maps, 0 = decode as read; of an object store's "
        "shards as much, 1024 at least",
    )
    spread_from: int = Field(
        default=10_000,
        ge=0,
        description="with several workers, features of this many examples or more go through Ray",
    )
    concurrent_trials: int | None = Field(default=None, ge=1, description="limit; empty = as the CPUs allow")

    @property
    def most_workers(self) -> int:
        """The workers of a training at its largest."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def least_workers(self) -> int:
        """The workers without which a training does not start."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def elastic(self) -> bool:
        """Whether the number of workers follows the room that the cluster has."""
        return not isinstance(self.num_workers, int)

    @model_validator(mode="after")
    def _ordered(self) -> RunSettings:
        if self.elastic and self.least_workers >= self.most_workers:
            given = f"[{self.least_workers}, {self.most_workers}]"
            raise ValueError(f"num_workers: {given} is no range; it must be [least, most], such as [1, 4]")
        if self.elastic and self.max_failures == 0:
            raise ValueError("max_failures: 0 ends a training at the first lost worker; [least, most] needs 1 or more")
        return self

    @field_validator("address", mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("address")
    @classmethod
    def _known_form(cls, value: str) -> str:
        if value != "env" and addresses.parse(value) is None:
            raise ValueError(f"'{value}' is no address; it must be {addresses.FORMS}")
        return value

    @field_validator("storage")
    @classmethod
    def _outside_outs(cls, value: str) -> str:
        if Path(value).parts[:1] == ("artifacts",):
            raise ValueError(
                f"'{value}' is among DVC's outs, which are removed before a rerun; take a folder beside it"
            )
        if looks_remote(value):
            check_storage(value)
        return value

    @model_validator(mode="after")
    def _reachable(self) -> RunSettings:
        address = addresses.parse(self.address)
        reached = "://" in self.storage or Path(self.storage).is_absolute()
        if address is not None and address.kind == "submit" and not reached:
            raise ValueError(
                f"storage: '{self.storage}' is a folder of this project, which jobs at {address.value} cannot reach; "
                "take s3://bucket/prefix, or the absolute path of a folder that this machine and the cluster share"
            )
        return self
