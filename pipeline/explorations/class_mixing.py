"""Between classes: the same noise under weights that move from one class to another, and under random mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pipeline import randomness
from pipeline.errors import UserError
from pipeline.explorations import _shared
from pipeline.sampling.labels import Wording, checked_indices, label_indices
from pipeline.sampling.samples import SampleSource
from pipeline.settings import Settings


class Config(Settings):
    """What GANbreeder's users breed with: a class vector that is no single class."""

    classes: tuple[str, ...] = Field(default=(), description="the classes to mix, by name; none = the first two")
    class_indices: tuple[int, ...] = Field(default=(), description="their indices from 0, instead of `classes`")
    samples: int = Field(default=6, ge=1, le=64, description="rows: each its own noise")
    steps: int = Field(default=9, ge=2, le=64, description="from the first class to the second, and so on")
    children: int = Field(default=16, ge=0, description="random mixtures of the classes, each with its own noise")
    truncation: float = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _several(self) -> Config:
        if self.classes and self.class_indices:
            raise ValueError("classes and class_indices: give classes by name or by index, not both")
        for name, asked in (("classes", self.classes), ("class_indices", self.class_indices)):
            if len(asked) == 1:
                raise ValueError(f"{name}: one is no mixture; name two or more")
        return self


class Exploration:
    """Labels as weights (n, classes): a one-hot row is a class, anything between is a mixture."""

    modalities = _shared.EVERY

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config = self.config
        if not source.conditional:
            raise UserError("class_mixing: this model is unconditional and knows no classes")
        known = self._known(source.spec.classes)
        way = _way(torch.tensor(known), len(source.spec.classes), config.steps)
        latents = _shared.noise(source, config.seed, max(config.samples, config.children))
        each = _shared.rows(latents, torch.arange(config.samples).repeat_interleave(len(way)))
        images = _shared.draw(source, each, way.repeat(config.samples, 1), config.truncation)
        grids = {"mixing": _shared.shaped(images, len(way))}
        said = {"classes": [source.spec.classes[index] for index in known], "weights": _columns(way, known)}
        if config.children:
            drawn = torch.rand(
                (config.children, len(known)), generator=randomness.generator(config.seed, "explore/mix")
            )
            # Uniform over the simplex: normalised exponentials.
            share = -torch.log(drawn.clamp_min(1e-12))
            weights = torch.zeros(config.children, len(source.spec.classes))
            weights[:, known] = share / share.sum(1, keepdim=True)
            first = _shared.rows(latents, torch.arange(config.children))
            grids["children"] = _shared.draw(source, first, weights, config.truncation)[None]
            said["children"] = _columns(weights, known)
        return _shared.Findings(grids, said)

    def _known(self, classes: Sequence[str]) -> list[int]:
        """The indices of the classes to mix.

        Raises:
            UserError: for what is no class of the model's.
        """
        names, indices = self.config.classes, self.config.class_indices
        if names:
            wording = Wording("classes", _shared.by_index("class_indices", names, classes))
            return label_indices(names, classes, wording)
        if indices:
            return checked_indices(indices, classes, Wording("class_indices"))
        if len(classes) < 2:
            raise UserError(f"class_mixing: this model has one class, {classes[0]}, and one is no mixture")
        return [0, 1]


def _way(known: Tensor, classes: int, steps: int) -> Tensor:
    """Weights (steps · (k − 1), classes) from each class to the next."""
    corners = torch.nn.functional.one_hot(known, classes).float()
    share = torch.linspace(0, 1, steps)[:, None]
    return torch.cat([(1 - share) * a + share * b for a, b in pairwise(corners)])


def _columns(weights: Tensor, known: list[int]) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in weights[:, known]]
