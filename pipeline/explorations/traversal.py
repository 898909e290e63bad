"""One code moved while everything else stays: what a categorical or continuous code has learnt to say."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from pipeline.contract import Latent
from pipeline.errors import UserError
from pipeline.explorations import _shared
from pipeline.sampling.samples import SampleSource
from pipeline.settings import suggest


class Config(_shared.Labelled):
    """By default every code of the design (all noise beside the first input), or the first numbers of its only one."""

    latent: str | None = Field(default=None, description="which noise input")
    positions: tuple[int, ...] = Field(default=(), description="which of its numbers; none = the first four")
    reach: float = Field(default=2.0, gt=0, description="continuous codes move over ± this")
    steps: int = Field(default=10, ge=2, le=64, description="pictures of a continuous code's way")
    samples: int = Field(default=5, ge=1, le=64, description="rows: each its own noise")
    seed: int = Field(default=0, ge=0)


class Exploration:
    """Chen et al. 2016, figure 2: a column a value of the code, a row a sample."""

    modalities = _shared.EVERY

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config = self.config
        label = _shared.chosen_labels(source, config.samples, config)
        latents = _shared.noise(source, config.seed, config.samples)
        findings = _shared.Findings({}, {"codes": {}, "labels": _shared.named(source, label)})
        for latent in self._moved(source):
            for name, values in self._ways(latent):
                steps = len(values[1])
                each = _shared.rows(latents, torch.arange(config.samples).repeat_interleave(steps))
                each[latent.name] = _placed(each[latent.name], *values, config.samples)
                again = None if label is None else label.repeat_interleave(steps)
                findings.grids[name] = _shared.shaped(_shared.draw(source, each, again), steps)
                findings.said["codes"][name] = [round(float(value), 4) for value in values[1]]
        return findings

    def _moved(self, source: SampleSource) -> tuple[Latent, ...]:
        """The noise inputs to walk along.

        Raises:
            UserError: if the one asked for is not there.
        """
        known = {latent.name: latent for latent in _shared.of(source)}
        asked = self.config.latent
        if asked is None:
            return tuple(known.values())[1:] or tuple(known.values())
        if asked not in known:
            raise UserError(f"latent: {_shared.design(source)} has no '{asked}'{suggest(asked, list(known))}")
        return (known[asked],)

    def _ways(self, latent: Latent) -> list[tuple[str, tuple[int | None, Tensor]]]:
        """Name → (position, values); position None: the values are categories.

        Raises:
            UserError: for a position that the latent has not.
        """
        if latent.distribution == "categorical":
            return [(latent.name, (None, torch.arange(float(latent.shape[-1]))))]
        size = int(torch.Size(latent.shape).numel())
        positions = self.config.positions or tuple(range(min(4, size)))
        if max(positions) >= size or min(positions) < 0:
            raise UserError(f"positions: '{latent.name}' has the numbers 0 … {size - 1}")
        reach = self.config.reach
        way = torch.linspace(-reach, reach, self.config.steps)
        if latent.distribution == "bits":
            way = torch.tensor([-1.0, 1.0])
        return [(f"{latent.name}_{position}", (position, way)) for position in positions]


def _placed(noise: Tensor, position: int | None, values: Tensor, samples: int) -> Tensor:
    """`noise` (samples · steps, …) with the code at each step's value."""
    if position is None:
        hot = torch.nn.functional.one_hot(values.long(), noise.shape[-1]).to(noise.dtype)
        middle = [1] * (noise.dim() - 2)
        return hot.view(len(values), *middle, -1).repeat(samples, *middle, 1).expand_as(noise).clone()
    flat = noise.flatten(1).clone()
    flat[:, position] = values.repeat(samples)
    return flat.view_as(noise)
