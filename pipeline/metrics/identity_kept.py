"""Identity kept: does the generator, given a face's code, make the same face again?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.errors import UserError
from pipeline.settings import Settings

Rows = NDArray[np.float64]


class Config(Settings):
    """How many held-out examples are made again."""

    limit: int = Field(default=1024, ge=2, description="examples at most, the first of the holdout")


class Metric(contract.Metric[Config]):
    """Cosine similarity of features of held-out examples and of what a design with an encoder makes of them: 1 at best.

    Features are those of the reference's extractor, less their mean over the real examples, so that unlike images come
    near 0. Beside it stands the floor, the similarity of each example with the next one's reconstruction.
    """

    needs = frozenset({"reconstructions", "moments"})

    def compute(self, statistics: Statistics) -> list[Score]:
        pairs = statistics.pairs
        if pairs is None or pairs.features is None:
            raise UserError("identity_kept was asked of a design without an encoder")
        count = min(self.config.limit, pairs.count)
        if count < 2:
            raise UserError(f"identity_kept compares two held-out examples or more, and there are {count}")
        blocks = list(pairs.blocks(count))
        mean = statistics.real.gaussian().mean
        truth, made = (
            np.concatenate([pairs.features(each) for each in found]) - mean
            for found in ([block.truth for block in blocks], [block.made for block in blocks])
        )
        kept, floor = cosine(truth, made), cosine(truth, np.roll(made, -1, axis=0))
        name, settings = f"identity_kept_{statistics.extractor.name}", self.config.model_dump(mode="json")
        of = "cosine of each held-out example and"
        return [
            Score(name, float(kept.mean()), count, count, "holdout",
                  f"{of} its reconstruction", float(kept.std(ddof=1)), settings=settings, each=kept),
            Score(f"{name}_of_others", float(floor.mean()), count, count, "holdout",
                  f"{of} another's reconstruction: the floor", float(floor.std(ddof=1)), settings=settings, each=floor),
        ]  # fmt: skip


def cosine(a: Rows, b: Rows) -> Rows:
    """Of rows (n, d) each: (n,); 0 where one of them is all zeros."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(lengths, 1e-12)
