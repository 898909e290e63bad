"""Style mixing: one sample's coarse styles under another's fine ones, by range of layers."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pipeline.errors import UserError
from pipeline.explorations import _shared
from pipeline.sampling.samples import SampleSource, evaluating, pixels
from pipeline.threads import fixed_threads


class Config(_shared.Labelled):
    """Rows keep all their styles but those of the layers from `start` up to `stop`, which are the columns'."""

    rows: int = Field(default=4, ge=1, le=32)
    columns: int = Field(default=6, ge=1, le=32)
    start: int = Field(default=2, ge=0, description="first layer that takes the columns' style")
    stop: int | None = Field(default=None, ge=1, description="the layer after the last; none = to the finest")
    truncation: float = Field(default=0.7, ge=0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _range(self) -> Config:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"stop: {self.stop} is not beyond start: {self.start}")
        return self


class Exploration:
    """Karras et al. 2019, figure 3: low layers hold pose and shape, high ones colour and texture."""

    modalities = _shared.PICTURES

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config, procedures = self.config, source.family.procedures()
        if "style_mixing" not in procedures:
            raise UserError(f"style_mixing: {_shared.design(source)} has no styles; stylegan and stylegan2 have")
        label = _shared.chosen_labels(source, config.rows, config)
        z = _shared.noise(source, config.seed, config.rows + config.columns)["z"].to(source.device)
        stop = config.stop or self._layers(source, z[:1], label)
        with fixed_threads(source.threads), evaluating(source.networks):
            mixed: Tensor = procedures["style_mixing"](
                source.networks,
                z[: config.rows],
                z[config.rows :],
                layers=(config.start, stop),
                label=None if label is None else label.to(source.device),
                truncation=config.truncation,
            )
        said = {
            "layers": [config.start, stop],
            "rows": "samples 0 … whose other layers stay",
            "columns": f"samples {config.rows} … whose styles enter",
            "labels": _shared.named(source, label),
        }
        images = pixels(mixed.flatten(0, 1))
        return _shared.Findings({"style_mixing": _shared.shaped(images, config.columns)}, said)

    def _layers(self, source: SampleSource, z: Tensor, label: Tensor | None) -> int:
        """How many layers have a style."""
        map_latents: Any = source.family.procedures()["map"]
        with torch.no_grad(), evaluating(source.networks):
            first = None if label is None else label[:1].to(source.device)
            return int(map_latents(source.networks, z, first).shape[1])
