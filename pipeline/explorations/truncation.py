"""The truncation sweep: the same noise nearer and nearer to the mean, fidelity against variety."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from pipeline.explorations import _shared
from pipeline.sampling.samples import SampleSource
from pipeline.types import Array


class Config(_shared.Labelled):
    """What ψ means is the design's own: scaled or resampled noise (BigGAN), or w towards its mean (StyleGAN)."""

    truncations: tuple[float, ...] = Field(default=(0.2, 0.4, 0.6, 0.8, 1.0), min_length=1)
    samples: int = Field(default=10, ge=2, le=64, description="columns")
    seed: int = Field(default=0, ge=0)


class Exploration:
    """Brock et al. 2019, figure 2; Karras et al. 2019, section 3.2: a row a truncation."""

    modalities = _shared.EVERY

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config = self.config
        label = _shared.chosen_labels(source, config.samples, config)
        latents = _shared.noise(source, config.seed, config.samples)
        images = np.stack([_shared.draw(source, latents, label, value) for value in config.truncations])
        said = {
            "truncations": list(config.truncations),
            "labels": _shared.named(source, label),
            f"variety{_shared.unit(source)}": [variety(row) for row in images],
        }
        return _shared.Findings({"truncation": images}, said)


def variety(samples: Array) -> float:
    """Root mean squared difference over all pairs of samples, in grey levels of images."""
    flat = samples.reshape(len(samples), -1).astype(np.float64)
    squares = (flat**2).mean(axis=1)
    products = flat @ flat.T / flat.shape[1]
    pairs = squares[:, None] + squares[None] - 2 * products
    return float(np.sqrt(max(pairs.sum(), 0.0) / (len(flat) * (len(flat) - 1))))
