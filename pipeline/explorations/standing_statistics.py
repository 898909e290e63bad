"""Standing statistics: batch norm's running means gathered again from the published weights' own samples."""

from __future__ import annotations

import copy
from contextlib import ExitStack

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.explorations import _shared
from pipeline.networks.layers.dimensions import BATCH_NORMS
from pipeline.networks.layers.norm import gathered_statistics
from pipeline.sampling.samples import CHUNK, SampleSource
from pipeline.settings import Settings
from pipeline.threads import fixed_threads
from pipeline.types import Batch


class Config(Settings):
    """Sixteen passes are the reference's; each sees 64 samples."""

    passes: int = Field(default=16, ge=1, description="batches of 64 samples whose statistics are averaged")
    truncation: float = Field(default=1.0, gt=0, description="of the noise they are gathered from")
    samples: int = Field(default=10, ge=1, le=64, description="columns of the picture")
    seed: int = Field(default=0, ge=0)


class Exploration:
    """Brock et al. 2019, section 3.1: statistics that fit averaged weights, or a truncation, exactly.

    Writes a model folder that differs in its running means and variances alone.
    """

    modalities = _shared.EVERY

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config = self.config
        networks = {name: copy.deepcopy(network) for name, network in source.networks.items()}
        before = _statistics(networks)
        if not before:
            name = _shared.design(source)
            raise UserError(f"standing_statistics: this {name} has no batch norm with running statistics")
        self._gather(source, networks)
        latents = _shared.noise(source, config.seed, config.samples)
        label = _shared.chosen_labels(source, config.samples, _shared.Labelled())
        renewed = SampleSource(source.family, networks, source.spec, device=source.device, threads=source.threads)
        images = np.stack([_shared.draw(each, latents, label, config.truncation) for each in (source, renewed)])
        after = _statistics(networks)
        said = {
            "rows": ["running statistics as published", "standing statistics"],
            "batch_norms": len(before) // 2,
            "samples_seen": config.passes * CHUNK,
            "largest_change": max(float((after[name] - old).abs().max()) for name, old in before.items()),
        }
        return _shared.Findings({"standing_statistics": images}, said, networks=networks)

    def _gather(self, source: SampleSource, networks: dict[str, nn.Module]) -> None:
        label = _shared.chosen_labels(source, CHUNK, _shared.Labelled())
        condition: Batch = {} if label is None else {"label": label.to(source.device)}
        with ExitStack() as stack:
            for network in networks.values():
                stack.enter_context(gathered_statistics(network))
            stack.enter_context(fixed_threads(source.threads))
            for number in range(self.config.passes):
                drawn = source.latents(self.config.seed, number)
                latents = {name: value.to(source.device) for name, value in drawn.items()}
                source.family.sample(networks, latents, condition, self.config.truncation)


def _statistics(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Every running mean and variance, by name."""
    found: dict[str, Tensor] = {}
    for network_name, network in networks.items():
        for name, module in network.named_modules():
            if isinstance(module, tuple(BATCH_NORMS.values())) and module.running_mean is not None:
                assert module.running_var is not None
                found[f"{network_name}/{name}/mean"] = module.running_mean.clone()
                found[f"{network_name}/{name}/variance"] = module.running_var.clone()
    return found
