"""LPIPS: how far apart each sample and its truth look, as people see it; or as the reference's extractor does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pipeline.assets import _lpips
from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.errors import UserError
from pipeline.metrics import _pairs
from pipeline.metrics._pairs import PairSettings, Planes
from pipeline.networks.architectures.lpips import LEAST
from pipeline.settings import Settings

CHUNK = 16  # images that a network sees at a time

Seen = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


class Config(Settings):
    """Whose eyes: the published ones need weights (`zerosum weights fetch vgg16`, then `lpips_vgg16`)."""

    network: Literal["vgg16", "alexnet", "reference"] = Field(
        default="reference",
        description="vgg16, alexnet: LPIPS 0.1, named lpips_<network>; reference: the distance of the reference's own "
        "features, named feature_distance_<extractor>, which is no LPIPS",
    )
    limit: int = Field(default=1024, ge=1, description="pairs at most, the first of the holdout")


class Metric(contract.Metric[Config]):
    """Distance of each sample from its truth, then the mean; beside it that of the input: 0 at best.

    Of the reference's features: ½|â − b̂|² of vectors of length 1, which is 1 less their cosine.
    """

    needs = frozenset({"pairs"})

    @property
    def assets(self) -> tuple[str, ...]:
        return () if self.config.network == "reference" else _lpips.assets(self.config.network)

    def compute(self, statistics: Statistics) -> list[Score]:
        limit, network = PairSettings(limit=self.config.limit), self.config.network
        if network == "reference":
            if statistics.pairs is None or statistics.pairs.features is None:
                raise UserError("lpips was asked of samples without truths, or without an extractor that sees them")
            seen = statistics.pairs.features
            name = f"feature_distance_{statistics.extractor.name}"
            return _pairs.scores(name, statistics, limit, lambda a, b: between(seen, a, b))
        judge = _lpips.load(network)

        def apart(a: Planes, b: Planes) -> NDArray[np.float64]:
            if min(a.shape[2:]) < LEAST[network]:
                raise UserError(
                    f"lpips: {network} sees images of {LEAST[network]} pixels or more, and these are "
                    f"{a.shape[2]}×{a.shape[3]}; take network: reference"
                )
            with torch.no_grad():
                parts = [
                    judge(coloured(a[begin : begin + CHUNK]), coloured(b[begin : begin + CHUNK]))
                    for begin in range(0, len(a), CHUNK)
                ]
            return torch.cat(parts).double().numpy()

        return _pairs.scores(f"lpips_{network}", statistics, limit, apart)


def between(seen: Seen, a: Planes, b: Planes) -> NDArray[np.float64]:
    """½|â − b̂|² of the features (n, d) of images, each of length 1: (n,)."""
    one, other = (seen(x.astype(np.uint8)) for x in (a, b))
    one, other = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (one, other))
    return 0.5 * ((one - other) ** 2).sum(1)


def coloured(x: Planes) -> Tensor:
    """Images (n, C, H, W), 0 to 255, as three channels in [0, 1]: grey three times, alpha left out."""
    found = torch.from_numpy(np.ascontiguousarray(x)).float() / 255
    return found[:, :3] if found.shape[1] >= 3 else found[:, :1].expand(-1, 3, -1, -1)
