"""Settings of the registry: what a model is called, and which score decides its promotion."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Settings


class RegisterSettings(Settings):
    """The register stage's section of params.yaml."""

    name: str = Field(
        default="zerosum-digits",
        max_length=200,
        description="name of the registered model",
    )
    experiment: str = Field(default="zerosum", min_length=1, max_length=400, description="MLflow experiment")
    metric: str = Field(default="frechet_classifier", min_length=1, description="score that decides a promotion")
    lower_is_better: bool = Field(default=True, description="whether a smaller value of `metric` is the better one")
    tolerance: float = Field(
        default=0.0, ge=0, description="by how much a candidate may score worse and still be promoted"
    )
    candidate: str = Field(default="candidate", description="alias of the version registered last")
    champion: str = Field(default="champion", description="alias of the version in use")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        """MLflow's addresses are `models:/name@alias` and `models:/name/version`."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", value):
            raise ValueError(
                f"'{value}' is no name; it must begin with a letter or digit and hold nothing but those, "
                "spaces, dots, - and _"
            )
        return value

    @field_validator("candidate", "champion")
    @classmethod
    def _alias(cls, value: str) -> str:
        """MLflow keeps `latest` and `v3` for itself."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,99}", value) or re.fullmatch(r"latest|[vV]\d+", value):
            raise ValueError(f"'{value}' is no alias: letters, digits, - and _, not 'latest', not 'v' and a number")
        return value

    @model_validator(mode="after")
    def _two_aliases(self) -> RegisterSettings:
        if self.candidate == self.champion:
            raise ValueError(f"champion: candidate and champion must be two aliases, both are '{self.champion}'")
        return self
