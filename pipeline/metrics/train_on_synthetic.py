"""Train on synthetic, test on real: what a classifier of one column learns from samples, beside one of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import randomness
from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Side, Statistics
from pipeline.errors import UserError
from pipeline.metrics._shared import Floats
from pipeline.metrics._tables import Codes, decoded
from pipeline.settings import Settings
from pipeline.types import Column

Learner = Literal["gradient_boosting", "logistic_regression"]


class Config(Settings):
    """Which column is learnt, by what, and how often."""

    target: str | None = Field(
        default=None, description="a column of categories; null: the class where the model is given one, else the last"
    )
    learner: Learner = Field(default="gradient_boosting", description="of scikit-learn, with its own settings")
    seeds: int = Field(default=5, ge=1, description="classifiers, each of rows drawn with replacement")
    limit: int = Field(default=20_000, ge=16, description="at most this many rows are learnt from")


@dataclass(frozen=True)
class Tested:
    """Held-out rows, what their target is, and the rarer category where there are two."""

    x: Floats
    truth: Codes
    rarer: int | None


class Metric(contract.Metric[Config]):
    """F1 and accuracy on the holdout of a classifier of samples (`synthetic_…`) and one of as many reals (`real_…`).

    F1 is that of the rarer of two categories, of more the mean over all. Good samples serve as well as reals do
    (Esteban, Hyland & Rätsch 2017, section 4.1.3). The spread is the deviation over the classifiers.
    """

    needs = frozenset({"features", "holdout", "columns"})
    aliases = ("tstr",)

    def compute(self, statistics: Statistics) -> list[Score]:
        if statistics.holdout is None:
            raise RuntimeError("train_on_synthetic was asked for without a holdout")
        sides = {"real": statistics.real, "synthetic": statistics.fake}
        tables = {name: self._table(side, statistics) for name, side in sides.items()}
        (test, truth), limit = self._table(statistics.holdout, statistics), self.config.limit
        count = min(limit, *(len(target) for _, target in tables.values()))
        tested = Tested(test, truth, _rarer(tables["real"][1]))
        scores: list[Score] = []
        for name, (x, target) in tables.items():
            each = [self._learnt(x, target, tested, count, statistics.seed, n) for n in range(self.config.seeds)]
            found = np.array(each)
            for column, kind in enumerate(("f1", "accuracy")):
                scores.append(self._score(f"{name}_trained_{kind}", found[:, column], count, len(truth)))
        return scores

    def _score(self, name: str, values: Floats, count: int, tested: int) -> Score:
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        note = f"of classifiers trained on {count:,} rows and tested on {tested:,} held-out ones"
        settings = self.config.model_dump(mode="json")
        return Score(name, float(values.mean()), tested, count, "holdout", note, spread, settings=settings)

    def _table(self, side: Side, statistics: Statistics) -> tuple[Floats, Codes]:
        """What the classifier is given of each row, and the target."""
        x, columns = np.asarray(side.rows(), dtype=np.float64), statistics.columns
        labels = side.row_labels()
        if self.config.target is None and statistics.conditional and labels is not None:
            return x, labels.astype(np.int64)
        number = _place(self.config.target, columns)
        first = sum(column.width for column in columns[:number])
        kept = np.r_[0:first, first + columns[number].width : x.shape[1]]
        return x[:, kept], decoded(side.rows(), columns)[number].values.astype(np.int64)

    def _learnt(
        self, x: Floats, target: Codes, tested: Tested, count: int, seed: int, number: int
    ) -> tuple[float, float]:
        """F1 and accuracy of one classifier."""
        from threadpoolctl import threadpool_limits

        rows = _drawn(len(target), count, randomness.generator(seed, "train_on_synthetic", number))
        with threadpool_limits(limits=1):  # sums of several threads have no one order
            predicted = _predicted(self.config.learner, x[rows], target[rows], tested.x, seed + number)
        return f1(tested.truth, predicted, tested.rarer), float((tested.truth == predicted).mean())


def f1(truth: Codes, predicted: Codes, category: int | None) -> float:
    """2·TP / (2·TP + FP + FN) of one category, or the mean over those that occur on either side."""
    categories = np.union1d(truth, predicted) if category is None else [category]
    both = [((truth == each) & (predicted == each)).sum() for each in categories]
    either = [(truth == each).sum() + (predicted == each).sum() for each in categories]
    return float(np.mean([2 * hit / max(1, total) for hit, total in zip(both, either, strict=True)]))


def _place(target: str | None, columns: tuple[Column, ...]) -> int:
    names = [column.name for column in columns]
    if target is not None and target not in names:
        raise UserError(f"train_on_synthetic.target: there is no column '{target}'; there are {', '.join(names[:8])}")
    number = len(names) - 1 if target is None else names.index(target)
    if not columns[number].categories:
        raise UserError(
            f"train_on_synthetic.target: '{names[number]}' is a column of numbers; name one of categories, such as "
            f"{next((each.name for each in columns if each.categories), 'none of this table')}"
        )
    return number


def _rarer(target: Codes) -> int | None:
    """The rarer of two categories; None where there are more."""
    found, counts = np.unique(target, return_counts=True)
    return int(found[counts.argmin()]) if len(found) == 2 else None


def _drawn(total: int, count: int, source: Any) -> NDArray[np.int64]:
    import torch

    return torch.randint(total, (count,), generator=source).numpy()


def _predicted(learner: Learner, x: Floats, target: Codes, test: Floats, seed: int) -> Codes:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(target)) < 2:  # samples of one category teach nothing else
        return np.full(len(test), target[0], dtype=np.int64)
    model: Any = (
        HistGradientBoostingClassifier(random_state=seed)
        if learner == "gradient_boosting"
        else LogisticRegression(max_iter=1000, random_state=seed)
    )
    return np.asarray(model.fit(x, target).predict(test), dtype=np.int64)
