"""The inception score (Salimans et al. 2016), of whichever classifier the extractor is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.metrics._shared import Floats, Need, Score, Statistics, reported_name, shuffled
from pipeline.settings import Settings


class Config(Settings):
    """How many parts the samples are cut into; the score is the mean over them."""

    splits: int = Field(default=1, ge=1, description="parts of the samples scored apart (the paper: 10 of 5,000 each)")


class Metric:
    """exp E KL(p(y|x) ‖ p(y)): 1 at worst, the number of classes at best. The reals play no part."""

    needs: frozenset[Need] = frozenset({"logits"})

    def __init__(self, config: Config) -> None:
        self.config = config

    def compute(self, statistics: Statistics) -> list[Score]:
        fake = statistics.fake
        if fake.logits is None:
            raise RuntimeError("the inception score was asked of an extractor without logits")
        splits = min(self.config.splits, len(fake))
        # Samples may come in class order; parts of them must not.
        order = shuffled(len(fake), statistics.seed, "inception_score/order")
        value = float(np.mean(inception_scores(fake.logits[order], splits)))
        note = f"of {fake.logits.shape[1]} classes at best; {splits} split{'s' if splits > 1 else ''}"
        return [Score(reported_name("score", statistics.extractor), value, 0, len(fake), None, note)]


def inception_scores(logits: NDArray[Any], splits: int = 1) -> Floats:
    """The score of each of `splits` consecutive parts of logits (n, classes)."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    scores = [_score(part) for part in np.array_split(log_p, splits)]
    return np.array(scores)


def _score(log_p: Floats) -> float:
    p = np.exp(log_p)
    marginal = p.mean(axis=0)
    # Where p is 0, p·log(…) is 0: the limit, not a NaN.
    ratio = log_p - np.log(np.maximum(marginal, np.finfo(np.float64).tiny))
    terms = np.where(p > 0, p * np.where(p > 0, ratio, 0.0), 0.0)
    return float(np.exp(terms.sum(axis=1).mean()))
