"""The Fréchet distance between two Gaussians fitted to features (Dowson & Landau 1982; Heusel et al. 2017)."""

from __future__ import annotations

from typing import Literal

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.contract.moments import Gaussian, Moments
from pipeline.metrics._gaussians import Spread, distance
from pipeline.score_names import reported_name
from pipeline.settings import Settings

__all__ = ["Config", "Metric", "Spread", "distance"]


class Config(Settings):
    """Nothing to choose: the formula has no parameter."""


class Metric(contract.Metric[Config]):
    """Samples against the reals; and, of the holdout's number, samples and holdout against train."""

    needs = frozenset({"moments"})
    aliases = ("fid",)

    def compute(self, statistics: Statistics) -> list[Score]:
        real, fake, holdout = statistics.real, statistics.fake, statistics.holdout
        name = reported_name("frechet", statistics.extractor)
        spread = Spread(real.gaussian())
        split, against = statistics.split, "train" if statistics.split == "train" else "the reals"
        scores = [_score(name, spread, fake.gaussian(), f"samples against all of {against}", split)]
        if holdout is None:
            return scores
        few = fake.gaussian() if fake.head is None else fake.head
        if few.count is None or few.count > len(holdout):
            few = Moments.of(fake.rows()[: len(holdout)])
        control = holdout.moments
        if control is None or few.count != len(holdout):
            control = Moments.of(holdout.some(few.count or 0, 0, "frechet/holdout"))
        return [
            *scores,
            _score(
                f"{name}_at_holdout_n", spread, few, f"as many samples as the holdout has, against {against}", split
            ),
            _score(holdout_name(name), spread, control, f"the holdout against {against}", split),
        ]


def holdout_name(name: str) -> str:
    """What the holdout's own distance is called beside `name`: fid_holdout, fid_768_holdout; else frechet_holdout."""
    return "frechet_holdout" if name.startswith("frechet_") else f"{name}_holdout"


def _score(
    name: str, real: Spread, fake: Moments | Gaussian, note: str, split: Literal["train", "holdout"] | None
) -> Score:
    counts = {"the reals": real.gaussian.count, "the samples": fake.count}
    warnings = tuple(
        f"{who} are {count:,} in {fake.dimension:,} dimensions: their covariance is rank-deficient, biased upwards"
        for who, count in counts.items()
        if count is not None and count <= fake.dimension
    )
    return Score(name, real.distance(fake), real.gaussian.count, fake.count, split, note, warnings=warnings)
