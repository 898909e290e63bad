"""Arithmetic on latents: mean of some samples − mean of others + mean of a third group."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field, model_validator

from pipeline import randomness
from pipeline.errors import UserError
from pipeline.explorations import _shared
from pipeline.sampling.samples import SampleSource


class Config(_shared.Labelled):
    """Samples are named by their number under the seed, as `zerosum generate` writes them."""

    plus: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="a of a − b + c")
    minus: tuple[int, ...] = Field(default=(3, 4, 5), min_length=1, description="b")
    add: tuple[int, ...] = Field(default=(6, 7, 8), min_length=1, description="c")
    jitter: float = Field(default=0.25, ge=0, description="uniform noise of ± this around the answer")
    label: tuple[str, ...] = Field(default=(), max_length=1, description="class of every picture; else the first")
    label_index: tuple[int, ...] = Field(default=(), max_length=1, description="its index, instead of `label`")
    truncation: float = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _numbers(self) -> Config:
        for name, group in (("plus", self.plus), ("minus", self.minus), ("add", self.add)):
            if min(group) < 0:
                raise ValueError(f"{name}: {min(group)} is no sample's number; they begin at 0")
        return self


class Exploration:
    """Radford et al. 2016: three samples a group; the answer in the middle of eight noisy ones."""

    modalities = _shared.EVERY

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config, groups = self.config, (self.config.plus, self.config.minus, self.config.add)
        label = _shared.chosen_labels(source, 1, config)
        continuous = [latent for latent in _shared.of(source) if latent.distribution in ("normal", "uniform")]
        if not continuous:
            raise UserError(f"{_shared.design(source)} draws no continuous noise to calculate with")
        known = _shared.noise(source, config.seed, 1 + max(max(group) for group in groups))
        means = {name: [values[list(group)].mean(0) for group in groups] for name, values in known.items()}
        answer = {latent.name: _answer(means[latent.name]) for latent in continuous}
        around = {name: values[:1].expand(9, *values.shape[1:]).clone() for name, values in known.items()}
        for latent in continuous:
            source_of = randomness.generator(config.seed, "explore/arithmetic", len(latent.name))
            noise = torch.rand((9, *latent.shape), generator=source_of) * 2 - 1
            noise[4] = 0
            around[latent.name] = answer[latent.name][None] + config.jitter * noise
        shown = {
            name: torch.cat(
                [torch.cat([values[list(group)], mean[None]]) for group, mean in zip(groups, means[name], strict=True)]
            )
            for name, values in known.items()
        }
        operands = _shared.draw(source, shown, _same(label, len(next(iter(shown.values())))), config.truncation)
        result = _shared.draw(source, around, _same(label, 9), config.truncation)
        grids = {"answer": _shared.shaped(result, 3)}
        if len({len(group) for group in groups}) == 1:
            grids["operands"] = _shared.shaped(operands, len(groups[0]) + 1)
        else:
            grids["operands"] = operands[None]
        said = {
            "equation": f"mean{list(groups[0])} − mean{list(groups[1])} + mean{list(groups[2])}",
            "operands": "a row a group, its mean last",
            "label": (_shared.named(source, label) or [None])[0],
        }
        arrays = {f"answer_{name}": np.asarray(value) for name, value in answer.items()}
        return _shared.Findings(grids, said, arrays)


def _answer(means: list[torch.Tensor]) -> torch.Tensor:
    return means[0] - means[1] + means[2]


def _same(label: torch.Tensor | None, count: int) -> torch.Tensor | None:
    return None if label is None else label[:1].expand(count)
