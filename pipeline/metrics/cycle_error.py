"""What there and back again changes of an image: for designs that translate both ways."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.errors import UserError
from pipeline.settings import Settings


class Config(Settings):
    """How many images are sent round."""

    limit: int = Field(default=1024, ge=1, description="images of each domain at most, the first of the holdout")


class Metric(contract.Metric[Config]):
    """E|x − F(G(x))| in grey levels over held-out images of each domain: 0 at best.

    A design can hide an image in what it makes of it (Chu et al. 2017), so that a small error alone proves little.
    `cycle_error` is the mean of both domains, whose own are beside it.
    """

    needs = frozenset({"cycles"})

    def compute(self, statistics: Statistics) -> list[Score]:
        if statistics.cycles is None:
            raise UserError("cycle_error was asked of a design that has no way back")
        found: list[Score] = []
        settings = self.config.model_dump(mode="json")
        for domain, pairs in sorted(statistics.cycles.items()):
            blocks = pairs.blocks(min(self.config.limit, pairs.count))
            each = np.concatenate(
                [
                    np.abs(block.made.astype(np.float64) - block.truth).reshape(len(block.made), -1).mean(axis=1)
                    for block in blocks
                ]
            )
            told = f"each held-out image of {domain} against what comes back of it, in grey levels"
            spread = float(each.std(ddof=1)) if len(each) > 1 else None
            name, count = f"cycle_error_{domain}", len(each)
            found.append(Score(name, float(each.mean()), count, count, "holdout", told, spread, settings=settings))
        count = sum(score.n_fake or 0 for score in found)
        value = float(np.mean([score.value for score in found]))
        both = Score("cycle_error", value, count, count, "holdout", "the mean of both domains", settings=settings)
        return [both, *found]
