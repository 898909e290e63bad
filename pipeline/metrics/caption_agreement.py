"""Caption agreement: does a sample fit the sentence that it was asked for better than other sentences?"""

from __future__ import annotations

from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.contract.retrieval import chance, recall
from pipeline.errors import UserError
from pipeline.settings import Settings

RANKS = {1: "caption_agreement", 5: "caption_agreement_at_5"}


class Config(Settings):
    """How many pictures are drawn, and among how many captions theirs is sought."""

    limit: int = Field(default=1024, ge=2, description="samples at most, of the first held-out captions")
    candidates: int = Field(default=100, ge=2, description="different held-out captions to choose from, at most")

    @property
    def settings(self) -> dict[str, int]:
        """As records hold them."""
        return {"limit": self.limit, "candidates": self.candidates}


class Metric(contract.Metric[Config]):
    """R@1 and R@5: the share of samples of held-out captions for which a caption of the same picture is the first, or
    among the first five, of K different ones, by how well they fit (Reed et al. 2016; Xu et al. 2018 take K = 100).

    What fits is told by the reference's text encoder and the map of features that was learnt with it; without one,
    by a ridge regression from features to the model's own vectors, fitted on real training pairs. Captions that say
    the same in other words count as wrong, so the real pictures' value stands beside it: it is what can be reached.
    """

    needs = frozenset({"captions"})

    @property
    def rows(self) -> int:
        return 0

    def compute(self, statistics: Statistics) -> list[Score]:
        if statistics.captions is None:
            raise UserError("caption agreement was asked of samples of no captions")
        found = statistics.captions.choice(self.config.limit, self.config.candidates)
        count, among = found.right.shape
        scores: list[Score] = []
        for rank, name in RANKS.items():
            by_chance = chance(found.right, rank)
            settings = {**self.config.settings, **found.settings, "captions": among, "chance": round(by_chance, 6)}
            for key, table, whose in ((name, found.made, "samples"), (f"{name}_of_reals", found.real, "real pictures")):
                told = f"R@{rank} of {whose} among {among} held-out captions, chance {by_chance:.3f}, by {found.judge}"
                made = count if whose == "samples" else 0
                value = recall(table, found.right, rank)
                scores.append(Score(key, value, count, made or count, "holdout", told, settings=settings))
        return scores
