"""Walks from one sample to another: spherical or straight through the latent space."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from pipeline.contract import Latent
from pipeline.explorations import _shared
from pipeline.reporting.gallery import between
from pipeline.sampling.samples import SampleSource


class Config(_shared.Labelled):
    """Each walk keeps its label; ends are the first samples of the seed, two by two."""

    walks: int = Field(default=6, ge=1, le=64)
    steps: int = Field(default=9, ge=2, le=64, description="samples of a walk, both ends included")
    path: Literal["auto", "spherical", "linear"] = Field(
        default="auto", description="auto: spherical where noise is normal, linear where it is uniform"
    )
    truncation: float = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0)


class Exploration:
    """Spherical walks keep the length that normal noise has (White 2016); straight ones pass nearer to 0."""

    modalities = _shared.EVERY

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config = self.config
        label = _shared.chosen_labels(source, config.walks, config)
        ends = _shared.noise(source, config.seed, 2 * config.walks)
        share = torch.linspace(0, 1, config.steps)
        latents = {
            latent.name: torch.cat(
                [
                    between(self._as_asked(latent), ends[latent.name][2 * walk], ends[latent.name][2 * walk + 1], share)
                    for walk in range(config.walks)
                ]
            )
            for latent in _shared.of(source)
        }
        each = None if label is None else label.repeat_interleave(config.steps)
        images = _shared.shaped(_shared.draw(source, latents, each, config.truncation), config.steps)
        steps = [_shared.distance(walk[:-1], walk[1:]).tolist() for walk in images]
        said = {
            "paths": {latent.name: self._path(latent) for latent in _shared.of(source)},
            "labels": _shared.named(source, label),
            f"step{_shared.unit(source)}": steps,
        }
        return _shared.Findings({"interpolation": images}, said)

    def _path(self, latent: Latent) -> str:
        if latent.distribution in ("categorical", "bits"):
            return "a jump half-way"
        if self.config.path == "auto":
            return "spherical" if latent.distribution == "normal" else "linear"
        return self.config.path

    def _as_asked(self, latent: Latent) -> Latent:
        """`between` goes by the distribution: normal noise on the sphere, uniform noise straight."""
        kind = {"spherical": "normal", "linear": "uniform"}.get(self._path(latent))
        return Latent(latent.name, latent.shape, kind) if kind else latent  # pyright: ignore[reportArgumentType]
